#include "server/store/stationkey.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "server/store/db.h"
#include "server/store/schema.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"

#define KEY_HEX_BYTES (2 * SIGN_KEY_BYTES + 1)

/* What the newest manifest was signed with, and the key that was taken instead of it since. */
static const char known_sql[] =
    "SELECT m.seq AS after_sequence, m.public_key AS previous_public_key,"
    " (SELECT json_extract(detail, '$.public_key') FROM audit WHERE action = 'station.key'"
    " ORDER BY id DESC LIMIT 1) AS taken FROM manifest m ORDER BY m.seq DESC LIMIT 1";
static const char note_sql[] = "INSERT INTO audit (at_ms, actor, action, subject, detail)"
                               " VALUES (:now, 'station', 'station.key', 'station', :detail)";

static const char *text(json_t *row, const char *key)
{
    const char *value = json_string_value(json_object_get(row, key));
    return value ? value : "";
}

static int refuse(const char *path, bool missing, json_t *known, struct err *err)
{
    struct sign_key key;
    char hex[SHA256_HEX_BYTES] = "unknown";
    if (sign_key_parse(text(known, "previous_public_key"), &key)) {
        struct sha256 fingerprint = sign_fingerprint(&key);
        sha256_hex(&fingerprint, hex);
    }
    return err_set(err, ERR_INPUT,
                   "'%s' %s: put the key back that signed this station's reports (fingerprint "
                   "%.16s...), from a copy of the data folder. If it is lost, start once with "
                   "--new-station-key: reports from then on are signed with a new key",
                   path, missing ? "is missing" : "is another key", hex);
}

/* The change, signed with the new key: the old one is not there to do it. Keys sorted, compact, without the signature. */
static json_t *note_new(const struct signer *signer, const char *key_hex, json_t *known)
{
    json_t *note = json_pack("{s:s, s:O, s:O}", "public_key", key_hex, "previous_public_key",
                             json_object_get(known, "previous_public_key"), "after_sequence",
                             json_object_get(known, "after_sequence"));
    AUTO(free_ptr) char *document = json_dumps(note, JSON_COMPACT | JSON_SORT_KEYS);
    struct signature signature = signer_sign(signer, span_of(document, strlen(document)));
    char hex[2 * SIGN_BYTES + 1];
    hex_encode(span_of(signature.bytes, sizeof(signature.bytes)), hex);
    json_object_set_new(note, "signature", json_string(hex));
    return note;
}

static int note_change(struct db *db, const struct signer *signer, const char *key_hex,
                       json_t *known, struct err *err)
{
    json_auto_t *row = json_pack("{s:I, s:o}", "now", (json_int_t)clock_utc_ms(), "detail",
                                 note_new(signer, key_hex, known));
    int code = db_run(db, note_sql, row, err);
    if (code >= 0)
        log_line(LOG_WARN, "store", LOG_KV({"public_key", key_hex}),
                 "reports are signed with a new station key from now on; those up to number %lld "
                 "are checked with %s",
                 (long long)json_integer_value(json_object_get(known, "after_sequence")),
                 text(known, "previous_public_key"));
    return code < 0 ? code : 0;
}

static int compare(const struct store_config *config, const char *path, struct db *db,
                   const struct signer *signer, json_t *known, struct err *err)
{
    struct sign_key key = signer_public(signer);
    char hex[KEY_HEX_BYTES];
    hex_encode(span_of(key.bytes, sizeof(key.bytes)), hex);
    if (strcmp(hex, text(known, "previous_public_key")) == 0 ||
        strcmp(hex, text(known, "taken")) == 0)
        return 0;
    return config->new_station_key ? note_change(db, signer, hex, known, err)
                                   : refuse(path, false, known, err);
}

int stationkey_open(const struct store_config *config, struct signer **out, struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/station.key", config->data_dir);
    AUTO(free_ptr) char *db_path = xasprintf("%s/%s", config->data_dir, schema_station.file);
    AUTO(db_close) struct db *db = NULL;
    AUTO(signer_free) struct signer *signer = NULL;
    json_auto_t *known = NULL;
    int found = db_open(db_path, false, &db, err);
    if (found == 0)
        found = db_row(db, known_sql, NULL, &known, err);
    if (found < 0)
        return found;
    bool missing = access(path, F_OK) < 0 && errno == ENOENT;
    if (found > 0 && missing && !config->new_station_key)
        return refuse(path, true, known, err);
    int code = signer_open(path, &signer, err);
    if (code == 0 && found > 0)
        code = compare(config, path, db, signer, known, err);
    if (code == 0)
        *out = STEAL(signer);
    return code;
}
