/* brom_session.h: the host's conversation with boot ROM and preloader, up to a running DA1. Facts:
 * usb/codec/README.md, "Boot ROM and preloader". A phone that was started stays in its command loop
 * for ever, so nothing here is called for a phone that nobody asked about. Any failing function but
 * brom_send_auth() with ERR_AUTH_NEEDED leaves a phone that must be re-plugged. */
#ifndef FLASHRACK_USB_PROTO_BROM_SESSION_H
#define FLASHRACK_USB_PROTO_BROM_SESSION_H

#include "usb/codec/brom.h"
#include "usb/proto/link.h"

struct brom_info {
    enum brom_stage stage;
    uint16_t hw_code, hw_sub_code, hw_version, sw_version;
    uint8_t brom_version;   /* boot ROM only */
    uint32_t target_config; /* enum brom_target_config_bit */
    uint32_t capabilities;  /* preloader only, word 0 */
    bool has_me_id, has_soc_id;
    uint8_t me_id[BROM_ME_ID_BYTES], soc_id[BROM_SOC_ID_BYTES];
};

/* Start sequence. `expected` comes from the product id; a wrong guess costs nothing but a repeated
 * byte. A phone that is in its command loop already is taken as it is. Keeps trying for the stage's
 * window; then ERR_TIMEOUT. `comm_interface`: for the line coding that common tools send first,
 * 0xff: none. */
int brom_start(struct link *link, enum brom_stage expected, uint8_t comm_interface,
               struct err *err);
/* Everything a phone tells of itself, with the watchdog switched off on the way. */
int brom_identify(struct link *link, struct brom_info *out, struct err *err);

/* The steps of brom_identify(). */
int brom_get_hw_code(struct link *link, uint16_t *out, struct err *err);
int brom_watchdog_off(struct link *link, struct err *err);
int brom_get_target_config(struct link *link, uint32_t *out, struct err *err);
int brom_get_stage(struct link *link, enum brom_stage *out, struct err *err);
int brom_get_brom_version(struct link *link, uint8_t *out, struct err *err);
int brom_get_capabilities(struct link *link, struct brom_capabilities *out, struct err *err);
int brom_get_versions(struct link *link, struct brom_versions *out, struct err *err);
/* command: BROM_CMD_GET_ME_ID or BROM_CMD_GET_SOC_ID. */
int brom_get_id(struct link *link, enum brom_command command, struct brom_id *out, struct err *err);

int brom_read32(struct link *link, uint32_t address, uint32_t *out, struct err *err);
int brom_write32(struct link *link, uint32_t address, uint32_t value, struct err *err);

/* Does what the phone's target configuration asks for before SEND_DA: nothing for a preloader and
 * for an open boot ROM; a boot ROM with SLA or DAA gets the owner's authentication file, and
 * ERR_AUTH_NEEDED without one (auth.len 0). There is no way around it in this program. */
int brom_authenticate(struct link *link, const struct brom_info *info, struct span auth,
                      struct err *err);
int brom_send_auth(struct link *link, struct span auth, struct err *err);
/* da1: region 1 of the agent file, its last signature_bytes bytes are the signature. */
int brom_send_da(struct link *link, uint32_t address, struct span da1, uint32_t signature_bytes,
                 struct err *err);
/* After this the link speaks XFlash: da_start(). */
int brom_jump_da(struct link *link, uint32_t address, struct err *err);

#endif
