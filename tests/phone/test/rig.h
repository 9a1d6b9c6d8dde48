/* rig.h: hardware of emulated phones in this process, firmware that the test writes, and a raw
 * USB/IP client that knows nothing of either: what it sends and gets are the bytes of the protocol.
 */
#ifndef FLASHRACK_TESTS_PHONE_TEST_RIG_H
#define FLASHRACK_TESTS_PHONE_TEST_RIG_H

#include "tests/phone/hardware.h"
#include "tests/phone/usbip_server.h"
#include "usb/codec/usbip.h"

enum { RIG_PHONES_MAX = 4, RIG_PATIENCE_MS = 20000 };

struct rig {
    char dir[64];
    struct board *boards[RIG_PHONES_MAX];
    size_t count;
    struct usbip_server *server;
    int port;
};

/* The firmware of the test; stages that are not set turn the phone off. */
typedef enum board_next rig_stage(struct board *b);
struct rig_firmware {
    rig_stage *brom, *preloader, *lk, *android;
};
extern struct rig_firmware rig_firmware;

/* A gadget of class 2 with bulk 0x01, 0x81 of 512 bytes and interrupt 0x83. */
extern const struct gadget rig_gadget;

void rig_start(struct rig *r, size_t phones);
void rig_stop(struct rig *r);
/* Both volume keys, cable in; waits until the phone is on the bus. */
void rig_enter_brom(struct rig *r, size_t phone);
/* Waits until a condition of the phone holds; fails the test when it does not. */
void rig_wait(struct board *b, bool (*holds)(const struct board *b));
/* Waits until the firmware has taken everything that was sent to it. */
void rig_drain(struct board *b);
bool rig_on_bus(const struct board *b);
bool rig_is_off(const struct board *b);

/* ---- the client; every function fails the test when the bytes are not as they must be ---- */
int client_connect(const struct rig *r);
/* Status of the import; with USBIP_ST_OK *fd_out carries requests. */
int client_try_import(const struct rig *r, const char *busid, int *fd_out);
/* Imports and configures. */
int client_open(const struct rig *r, const char *busid);
void client_submit(int fd, uint32_t seqnum, uint8_t endpoint, uint32_t len, const void *data,
                   uint32_t flags);
void client_unlink(int fd, uint32_t seqnum, uint32_t victim);
struct reply {
    uint32_t command, seqnum;
    int32_t status;
    uint32_t actual; /* and that much of `data` for IN */
    uint8_t data[65536];
};
/* The next answer; `in` says whether it carries data. 0, or -1 when the connection ended. */
int client_reply(int fd, bool in, struct reply *out);
/* True when nothing comes for a moment. */
bool client_silent(int fd);
/* A control request and its answer: bytes or a negative status. */
int client_control(int fd, uint32_t seqnum, const uint8_t setup[8], const void *out, void *in);
/* The same in a direction that need not be the setup packet's. */
int client_control_as(int fd, uint32_t seqnum, const uint8_t setup[8], bool is_in, const void *out,
                      void *in);
void client_configure(int fd);

#endif
