/* The two JSON documents of a spool that say what the chunks are. */
#include <stdlib.h>

#include "usb/base/mem.h"
#include "usb/wire/spool.h"

static const char *const plausible_names[] = {"unknown", "yes", "no"};

const char *spool_plausible_name(enum spool_plausible p)
{
    return plausible_names[p];
}

static bool plausible_parse(const char *text, enum spool_plausible *out)
{
    for (size_t i = 0; i < ARRAY_LEN(plausible_names); i++)
        if (strcmp(text, plausible_names[i]) == 0) {
            *out = (enum spool_plausible)i;
            return true;
        }
    return false;
}

/* Text of 1 (or 0) to max - 1 characters from `allowed`. NULL allowed: any. */
static bool copy_text(const char *from, const char *allowed, char *to, size_t max)
{
    size_t len = strlen(from);
    if (len >= max || (allowed && strspn(from, allowed) != len))
        return false;
    memcpy(to, from, len + 1);
    return true;
}

#define DIGITS   "0123456789"
#define LETTERS  "abcdefghijklmnopqrstuvwxyz"
#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
static const char name_chars[] = DIGITS LETTERS CAPITALS "_-.";

static bool copy_name(const char *from, char *to, size_t max)
{
    return *from && copy_text(from, name_chars, to, max);
}

static json_t *hash_json(const struct sha256 *hash)
{
    char hex[SHA256_HEX_BYTES];
    sha256_hex(hash, hex);
    return json_string(hex);
}

/* ---- partition ---- */

void spool_partition_deinit(struct spool_partition *p)
{
    free(p->chunks);
    p->chunks = NULL;
    p->chunk_count = 0;
}

json_t *spool_partition_encode(const struct spool_partition *p)
{
    json_t *chunks = json_array();
    for (size_t i = 0; i < p->chunk_count; i++)
        json_array_append_new(chunks, hash_json(&p->chunks[i]));
    return json_pack("{s:s, s:s, s:I, s:I, s:o, s:s, s:s, s:o}", "name", p->name, "area", p->area,
                     "offset", (json_int_t)p->offset_bytes, "size", (json_int_t)p->size_bytes,
                     "sha256", hash_json(&p->sha256), "plausible",
                     spool_plausible_name(p->plausible), "reason", p->reason, "chunks", chunks);
}

static bool parse_chunks(json_t *list, struct spool_partition *out)
{
    size_t i;
    json_t *hash;
    json_array_foreach(list, i, hash)
    {
        if (!json_is_string(hash) || !sha256_parse(json_string_value(hash), &out->chunks[i]))
            return false;
    }
    return true;
}

/* Fixed places and numbers; the chunk list must cover the size exactly. */
static bool parse_partition(json_t *object, struct spool_partition *out)
{
    const char *name, *area, *hash, *plausible, *reason;
    json_int_t offset, size;
    json_t *chunks;
    if (json_unpack_ex(object, NULL, JSON_STRICT, "{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:o}",
                       "name", &name, "area", &area, "offset", &offset, "size", &size, "sha256",
                       &hash, "plausible", &plausible, "reason", &reason, "chunks", &chunks) < 0)
        return false;
    json_int_t count = size / SPOOL_CHUNK_MAX_BYTES + (size % SPOOL_CHUNK_MAX_BYTES != 0);
    if (offset < 0 || size < 0 || count > SPOOL_PARTITION_CHUNKS_MAX || !json_is_array(chunks) ||
        (json_int_t)json_array_size(chunks) != count)
        return false;
    out->offset_bytes = offset;
    out->size_bytes = size;
    out->chunk_count = (size_t)count;
    out->chunks = xcalloc((size_t)count, sizeof(*out->chunks));
    return copy_name(name, out->name, sizeof(out->name)) &&
           copy_name(area, out->area, sizeof(out->area)) && sha256_parse(hash, &out->sha256) &&
           plausible_parse(plausible, &out->plausible) &&
           copy_text(reason, NULL, out->reason, sizeof(out->reason)) && parse_chunks(chunks, out);
}

int spool_partition_decode(struct span payload, struct spool_partition *out, struct err *err)
{
    json_auto_t *object = NULL;
    AUTO(spool_partition_deinit) struct spool_partition p = {0};
    int code = spool_json_decode(payload, &object, err);
    if (code < 0)
        return code;
    if (!parse_partition(object, &p))
        return err_set(err, ERR_FORMAT, "spool: damaged partition manifest");
    *out = p;
    p.chunks = NULL;
    return 0;
}

/* ---- backup ---- */

json_t *spool_backup_encode(const struct spool_backup *b)
{
    json_t *partitions = json_array();
    for (size_t i = 0; i < b->partition_count; i++)
        json_array_append_new(partitions, json_pack("{s:s, s:o}", "name", b->partitions[i].name,
                                                    "sha256", hash_json(&b->partitions[i].sha256)));
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "key", b->key, "chip_id", b->chip_id,
                     "serial", b->serial, "verdict", b->verdict, "complete", b->complete,
                     "partitions", partitions);
}

static bool named_before(const struct spool_backup *b, const char *name)
{
    for (size_t i = 0; i < b->partition_count; i++)
        if (strcmp(b->partitions[i].name, name) == 0)
            return true;
    return false;
}

static bool parse_members(json_t *list, struct spool_backup *out)
{
    size_t i;
    json_t *member;
    if (!json_is_array(list) || json_array_size(list) > SPOOL_BACKUP_PARTITIONS_MAX)
        return false;
    json_array_foreach(list, i, member)
    {
        const char *name, *hash;
        if (json_unpack_ex(member, NULL, JSON_STRICT, "{s:s, s:s}", "name", &name, "sha256",
                           &hash) < 0 ||
            named_before(out, name) ||
            !copy_name(name, out->partitions[i].name, sizeof(out->partitions[i].name)) ||
            !sha256_parse(hash, &out->partitions[i].sha256))
            return false;
        out->partition_count++;
    }
    return out->partition_count > 0;
}

static bool parse_backup(json_t *object, struct spool_backup *out)
{
    const char *key, *chip_id, *serial, *verdict;
    int complete;
    json_t *partitions;
    if (json_unpack_ex(object, NULL, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:b, s:o}", "key", &key,
                       "chip_id", &chip_id, "serial", &serial, "verdict", &verdict, "complete",
                       &complete, "partitions", &partitions) < 0)
        return false;
    out->complete = complete != 0;
    return copy_name(key, out->key, sizeof(out->key)) &&
           copy_text(chip_id, DIGITS "abcdef", out->chip_id, sizeof(out->chip_id)) &&
           copy_text(serial, name_chars, out->serial, sizeof(out->serial)) &&
           copy_text(verdict, LETTERS "_", out->verdict, sizeof(out->verdict)) &&
           parse_members(partitions, out);
}

int spool_backup_decode(struct span payload, struct spool_backup *out, struct err *err)
{
    json_auto_t *object = NULL;
    int code = spool_json_decode(payload, &object, err);
    if (code < 0)
        return code;
    AUTO(free_ptr) struct spool_backup *b = xcalloc(1, sizeof(*b));
    if (!parse_backup(object, b))
        return err_set(err, ERR_FORMAT, "spool: damaged backup manifest");
    *out = *b;
    return 0;
}
