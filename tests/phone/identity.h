/* identity.h: what makes one emulated phone this phone, how its partitions keep it, and how Android
 * reads it back. How IMEIs are kept is the phone's own secret (as on the real one): identity.c
 * alone knows it, and nothing of the station may. tests/phone/README.md, "Identity". */
#ifndef FLASHRACK_TESTS_PHONE_IDENTITY_H
#define FLASHRACK_TESTS_PHONE_IDENTITY_H

#include "tests/phone/factory.h"
#include "usb/base/buf.h"
#include "usb/base/hash.h"

#define IDENTITY_SERIAL_LOST "0123456789ABCDEF" /* LK's default when proinfo is blank */

enum {
    IDENTITY_SERIAL_MAX = 19, /* characters that LK takes from proinfo */
    NVRAM_HEADER_BYTES = 0x20000,
    NV_FILE_SYSTEM_MAX = 512 * 1024, /* used part of nvdata, nvcfg, protect1/2, persist */
};

/* Label and hardware of the phone number `index` of the rack `seed`. Fills label and chip. */
void identity_derive(uint64_t seed, unsigned index, struct factory_phone *out);

/* Another type code, 8 digits, in both IMEIs. */
void identity_tac_set(struct factory_phone *phone, const char tac[8]);

/* Contents of one of the partitions that are not firmware, as the factory leaves it: appends the
 * used part to `out`, nothing for partitions that leave the factory blank. */
int identity_build(const struct factory_phone *phone, const char *partition, struct buf *out,
                   struct err *err);

/* Numbers that the modem and the radio work with. */
struct nv_values {
    bool imei_known, wifi_known, bt_known;
    char imei[2][16];
    uint8_t wlan_mac[6], bt_mac[6];
};

/* Bytes of the container that starts with `head` (16 bytes at least) in a partition of
 * `partition_bytes`, 0 when there is none. */
size_t nvram_container_bytes(struct span head, uint64_t partition_bytes);
/* False when the checksum is wrong. `stamp_out` identifies the container. */
bool nvram_read(struct span container, struct nv_values *out, struct sha256 *stamp_out);

/* nvdata as a file system of `size_bytes`, from a container that nvram_read() accepted; or, with an
 * empty container, with the defaults of a phone that has no numbers. */
int nvdata_build(struct span container, uint64_t size_bytes, const struct board_chip *chip,
                 struct buf *out, struct err *err);
/* False when it is no whole file system with the NV files. `stamp_out` names the container that it
 * was built from, all zero for the defaults. */
bool nvdata_read(struct span image, struct nv_values *out, struct sha256 *stamp_out);

/* nvcfg holds a modem configuration. */
bool nvcfg_valid(struct span image);
/* The SIM lock file of protect1 or protect2 is whole and made for this chip. */
bool protect_valid(struct span image, const struct board_chip *chip);
/* Lock state of seccfg: 1 default, 2 maker's default, 3 unlocked, 4 locked. LK takes a blank or
 * foreign seccfg (its seal does not fit the chip) for the default. */
enum { SECCFG_DEFAULT = 1, SECCFG_UNLOCKED = 3, SECCFG_BYTES = 0x3C };
unsigned seccfg_lock_state(struct span head, const struct board_chip *chip);
void seccfg_encode(const struct board_chip *chip, unsigned lock_state, uint8_t out[SECCFG_BYTES]);
/* What LK takes as serial from the first bytes of proinfo: always a text, perhaps the default. */
void proinfo_serial_read(struct span head, char out[IDENTITY_SERIAL_MAX + 1]);

#endif
