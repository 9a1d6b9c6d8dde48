/* phone_host.h: the host in tests of the emulated phone's download path, over the hardware double.
 * Exchanges are spelled out byte by byte, without the station's own conversation code: a mistake
 * made twice would not show. */
#ifndef FLASHRACK_TESTS_PHONE_HOST_H
#define FLASHRACK_TESTS_PHONE_HOST_H

#include "tests/unit/fake_board.h"
#include "usb/codec/xflash.h"
#include "usb/format/gpt.h"

#define HOST_USER_BYTES (64u << 20)

struct host {
    struct board *b;
    struct buf in; /* what the phone has sent and nobody has looked at */
    size_t at;
    uint32_t host_os, log_channel, checksum_level; /* environment; level 2 is not sent */
};

/* A phone with 4 MiB boot areas and `user_bytes` of empty USER. */
void host_init(struct host *h, uint64_t user_bytes);
void host_deinit(struct host *h);
/* Partitions proinfo, nvram, lk_a, flashinfo, otp (when asked for) of 1 MiB each from 0x8000 on. */
void host_gpt(struct host *h, bool otp);
struct extent host_partition(const char *name); /* where host_gpt() puts it */

/* One OUT transfer. */
void host_raw(struct host *h, const void *data, size_t len);
void host_hex(struct host *h, const char *hex);
/* Header and payload in two transfers. */
void host_packet(struct host *h, const void *payload, size_t len);
void host_word(struct host *h, uint32_t word);
void host_range(struct host *h, uint32_t section, uint64_t address, uint64_t length);
/* Header with this length and nothing behind it. */
void host_header(struct host *h, uint32_t magic, uint32_t length);

/* The next bytes of the phone must be these. */
void host_expect(struct host *h, const void *data, size_t len);
void host_expect_hex(struct host *h, const char *hex);
/* The next packet: its payload, borrowed until the next call. */
struct span host_reply(struct host *h);
uint32_t host_status(struct host *h); /* a packet of four bytes */
/* Nothing more comes. */
void host_quiet(struct host *h);
/* The agent answers a command again: asks for its version. */
void host_alive(struct host *h);
/* It answers nothing, and the stage has not returned. */
void host_dead(struct host *h);

/* Starts a stage and brings it to its command loop. */
void host_brom(struct host *h);
void host_preloader(struct host *h);
/* From there on to the command loops of the agent. */
void host_send_da(struct host *h, struct span image, uint32_t signature_bytes);
void host_jump(struct host *h);
void host_da1(struct host *h);
void host_da2(struct host *h); /* 32 bytes that the unmarked DA1 takes for DA2 */
/* Command and its first status 0. */
void host_command(struct host *h, uint32_t code);
/* DEVICE_CTRL and both statuses 0. */
void host_control(struct host *h, uint32_t code);
/* One chunk of a write: host status 0, right checksum, data. */
void host_chunk(struct host *h, const void *data, size_t len);

void host_flash_read(struct host *h, enum board_area area, uint64_t at, void *dst, size_t len);
void host_flash_write(struct host *h, enum board_area area, uint64_t at, const void *src,
                      size_t len);
/* `len` bytes, byte i = (m*i + a) mod 256; freed by the caller. */
uint8_t *host_linear(unsigned m, unsigned a, size_t len);

#endif
