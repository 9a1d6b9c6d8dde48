/* keys.h: the keys that stored chunks are sealed with: none, one, or two while chunks change from the old to the new. */
#ifndef FLASHRACK_SERVER_STORE_KEYS_H
#define FLASHRACK_SERVER_STORE_KEYS_H

#include "server/store/store.h"
#include "usb/base/seal.h"

struct keys; /* does not change once it is open: for all threads */
/* Reads the key files and compares them with what backups.db was sealed with. ERR_INPUT with what to do: a key is missing,
 * is another one, or its file is not fit for use. Blocking. */
int keys_open(const struct store_config *config, struct keys **out, struct err *err);
void keys_free(struct keys **k); /* NULL-safe */
/* What new chunks are sealed with; NULL: nothing, and *id_out is 0. */
const struct seal *keys_now(const struct keys *k, int64_t *id_out);
/* The key of a stored chunk; NULL: not given. */
const struct seal *keys_find(const struct keys *k, int64_t id);
/* Row of the key that chunks shall no longer be sealed with; 0: there is none. */
int64_t keys_old_id(const struct keys *k);
/* The name under which contents with this hash are stored now. */
struct sha256 keys_content_id(const struct keys *k, const struct sha256 *content);

#endif
