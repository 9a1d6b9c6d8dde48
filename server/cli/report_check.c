#include "server/cli/report_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"

enum { REPORT_VERSION = 1 };

static const char *text_in(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Exactly these members: a word that is not signed would be read as if it were. */
static int check_form(json_t *document, struct err *err)
{
    static const char *const names[] = {"report_version",  "algorithm", "manifest",
                                        "manifest_sha256", "signature", "public_key"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!json_object_get(document, names[i]))
            return err_set(err, ERR_FORMAT, "this is no report of a job: it has no '%s'", names[i]);
    if (json_object_size(document) != ARRAY_LEN(names))
        return err_set(err, ERR_VERIFY, "the report has members that no station writes");
    if (json_integer_value(json_object_get(document, "report_version")) != REPORT_VERSION ||
        strcmp(text_in(document, "algorithm"), "Ed25519") != 0)
        return err_set(
            err, ERR_FORMAT,
            "this report is of another version than this program knows: use a newer one");
    if (!json_is_object(json_object_get(document, "manifest")))
        return err_set(err, ERR_FORMAT, "the report's manifest is not an object");
    return 0;
}

static int check_key(json_t *document, const struct sign_key *trusted, struct sign_key *key,
                     struct err *err)
{
    if (!sign_key_parse(text_in(document, "public_key"), key))
        return err_set(err, ERR_FORMAT, "the report's public_key is not 64 hex digits");
    if (trusted && memcmp(trusted->bytes, key->bytes, sizeof(key->bytes)) != 0)
        return err_set(
            err, ERR_VERIFY,
            "the report was signed with another key than the one given: it is from another "
            "station, or forged");
    char hex[SHA256_HEX_BYTES];
    struct sha256 fingerprint = sign_fingerprint(key);
    sha256_hex(&fingerprint, hex);
    if (strcmp(hex, text_in(json_object_get(document, "manifest"), "station")) != 0)
        return err_set(err, ERR_VERIFY, "the manifest names another station than the key's");
    return 0;
}

static int check_signature(json_t *document, const struct sign_key *key, struct sha256 *hash,
                           struct err *err)
{
    struct signature signature;
    struct sha256 said;
    if (!signature_parse(text_in(document, "signature"), &signature) ||
        !sha256_parse(text_in(document, "manifest_sha256"), &said))
        return err_set(err, ERR_FORMAT,
                       "signature or manifest_sha256 is not hex of the right length");
    AUTO(free_ptr)
    char *bytes = json_dumps(json_object_get(document, "manifest"), JSON_COMPACT | JSON_SORT_KEYS);
    *hash = sha256_of(span_of(bytes, strlen(bytes)));
    if (!sign_check(key, span_of(bytes, strlen(bytes)), &signature))
        return err_set(err, ERR_VERIFY,
                       "the signature does not fit: the report was changed after it was signed");
    if (!sha256_equal(hash, &said))
        return err_set(err, ERR_VERIFY, "manifest_sha256 is not the hash of the manifest");
    return 0;
}

int report_check(json_t *document, const struct sign_key *trusted, struct report *out,
                 struct err *err)
{
    struct report r = {0};
    int rc = check_form(document, err);
    if (rc == 0)
        rc = check_key(document, trusted, &r.key, err);
    if (rc == 0)
        rc = check_signature(document, &r.key, &r.sha256, err);
    if (rc < 0)
        return rc;
    json_t *manifest = json_object_get(document, "manifest");
    json_t *previous = json_object_get(manifest, "previous_sha256");
    json_t *job = json_object_get(manifest, "job");
    r.sequence = json_integer_value(json_object_get(manifest, "sequence"));
    snprintf(r.job_id, sizeof(r.job_id), "%s", text_in(job, "id"));
    snprintf(r.state, sizeof(r.state), "%s", text_in(job, "state"));
    snprintf(r.serial, sizeof(r.serial), "%s", text_in(job, "serial"));
    snprintf(r.phone_state, sizeof(r.phone_state), "%s", text_in(manifest, "phone_state"));
    bool first = json_is_null(previous) && r.sequence == 1;
    if (!first && (r.sequence < 2 || !json_is_string(previous) ||
                   !sha256_parse(json_string_value(previous), &r.previous)))
        return err_set(err, ERR_FORMAT, "the manifest has no place in a chain");
    *out = r;
    return 0;
}

static int place_of(const struct report *r, const struct sign_key *keys, int count)
{
    for (int i = 0; i < count; i++)
        if (memcmp(keys[i].bytes, r->key.bytes, sizeof(r->key.bytes)) == 0)
            return i;
    return -1;
}

/* The next report names the hash of the one before whoever signs it. Whose key that is the reports cannot say: the old one
 * was lost and has signed nothing for the new one, and anybody can write a report that follows. */
static int check_change(const struct report *before, const struct report *next,
                        const struct sign_key *keys, int count, struct err *err)
{
    int from = place_of(before, keys, count), to = place_of(next, keys, count);
    if (from >= 0 && to > from)
        return 1;
    if (from >= 0 && to >= 0)
        return err_set(err, ERR_VERIFY,
                       "jobs %s and %s: the second is signed with a key that the station had given "
                       "up before the first",
                       before->job_id, next->job_id);
    return err_set(err, ERR_VERIFY, "jobs %s and %s: signed with different keys", before->job_id,
                   next->job_id);
}

int report_follows(const struct report *before, const struct report *next,
                   const struct sign_key *keys, int count, struct err *err)
{
    bool changed = memcmp(before->key.bytes, next->key.bytes, sizeof(next->key.bytes)) != 0;
    int rc = changed ? check_change(before, next, keys, count, err) : 0;
    if (rc < 0)
        return rc;
    if (next->sequence != before->sequence + 1)
        return err_set(
            err, ERR_VERIFY,
            "after number %lld comes number %lld: a report is missing, or the files are not "
            "in their order",
            (long long)before->sequence, (long long)next->sequence);
    if (!sha256_equal(&before->sha256, &next->previous))
        return err_set(err, ERR_VERIFY,
                       "number %lld does not name the hash of number %lld: the chain is broken",
                       (long long)next->sequence, (long long)before->sequence);
    return rc;
}
