#include "usb/format/plausible.h"

#include <stdio.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/lk.h"
#include "usb/format/para.h"
#include "usb/format/systeminfo.h"

const char *plausible_name(enum plausible_verdict v)
{
    static const char *const names[] = {"no", "yes", "unknown"};
    return names[v];
}

static void say(struct plausible *out, enum plausible_verdict verdict, enum plausible_why why,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void say(struct plausible *out, enum plausible_verdict verdict, enum plausible_why why,
                const char *fmt, ...)
{
    out->verdict = verdict;
    out->why = why;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out->reason, sizeof(out->reason), fmt, ap);
    va_end(ap);
}

/* ---- scanning ------------------------------------------------------------------------------- */

void plausible_begin(struct plausible_scan *s, const char *name, uint64_t size_bytes,
                     uint64_t expected_bytes)
{
    *s = (struct plausible_scan){.role = role_of(name),
                                 .size_bytes = size_bytes,
                                 .expected_bytes = expected_bytes,
                                 .inode_at = UINT64_MAX};
    snprintf(s->name, sizeof(s->name), "%s", name);
}

/* Places in an ext4 superblock, in the descriptor of its first group and in an inode; from the start of the image
 * those of the superblock. */
enum {
    X_BLOCKS = 0x404,
    X_LOG_BLOCK = 0x418,
    X_MAGIC = 0x438,
    X_STATE = 0x43a,
    X_REVISION = 0x44c,
    X_INODE_BYTES = 0x458,
    X_COMPAT = 0x45c,
    X_INCOMPAT = 0x460,
    X_RO_COMPAT = 0x464,
    X_UUID = 0x468,
    X_GROUP_BYTES = 0x4fe,
    X_BLOCKS_HIGH = 0x550,
    X_MAGIC_VALUE = 0xef53,
    X_LOG_BLOCK_MAX = 2,
    INCOMPAT_RECOVER = 0x4,
    INCOMPAT_64BIT = 0x80,
    COMPAT_KNOWN = 0x1fff, /* every bit a kernel defines up to 6.x */
    INCOMPAT_KNOWN = 0x3f7ff,
    RO_COMPAT_KNOWN = 0x1ffff,
    STATE_ERRORS = 0x2,
    GROUP_INODES = 0x8,
    GROUP_INODES_HIGH = 0x28,
    GROUP_BYTES_64 = 64,
    ROOT_INODE = 2, /* counted from 1 */
    INODE_MODE = 0,
    INODE_SIZE = 4,
    INODE_LINKS = 0x1a,
    MODE_KIND = 0xf000,
    MODE_FOLDER = 0x4000,
};

/* Where the inode of the root folder stands; UINT64_MAX when the head does not say. */
static uint64_t root_inode_at(const uint8_t *h)
{
    uint32_t log_block = get_le32(h + X_LOG_BLOCK);
    if (get_le16(h + X_MAGIC) != X_MAGIC_VALUE || log_block > X_LOG_BLOCK_MAX)
        return UINT64_MAX;
    uint32_t block_bytes = 1024u << log_block;
    const uint8_t *group = h + (log_block ? block_bytes : 2048); /* behind the superblock's block */
    uint64_t table = get_le32(group + GROUP_INODES);
    if ((get_le32(h + X_INCOMPAT) & INCOMPAT_64BIT) &&
        get_le16(h + X_GROUP_BYTES) >= GROUP_BYTES_64)
        table |= (uint64_t)get_le32(group + GROUP_INODES_HIGH) << 32;
    uint32_t inode_bytes = get_le32(h + X_REVISION) ? get_le16(h + X_INODE_BYTES) : 128;
    if (table > (uint64_t)INT64_MAX / block_bytes - 64)
        return UINT64_MAX;
    return table * block_bytes + (ROOT_INODE - 1) * inode_bytes;
}

/* Keeps what of the root folder's inode lies in `data`, which stands at `at` in the image. */
static void inode_take(struct plausible_scan *s, uint64_t at, struct span data)
{
    if (s->inode_at >= at + data.len || at >= s->inode_at + sizeof(s->inode))
        return;
    uint64_t from = MAX_OF(at, s->inode_at);
    uint64_t to = MIN_OF(at + data.len, s->inode_at + sizeof(s->inode));
    memcpy(s->inode + (from - s->inode_at), data.data + (from - at), (size_t)(to - from));
}

/* With the last byte of the head the place of the inode is known; part of it may lie in the head. */
static void advance(struct plausible_scan *s, uint64_t len)
{
    bool had_head = s->fed_bytes >= sizeof(s->head);
    s->fed_bytes += len;
    if (had_head || s->fed_bytes < sizeof(s->head) || s->role->contents != CONTENTS_EXT4)
        return;
    s->inode_at = root_inode_at(s->head);
    inode_take(s, 0, span_of(s->head, sizeof(s->head)));
}

static bool has_word(struct span in, const char *word)
{
    return in.len && memmem(in.data, in.len, word, strlen(word)) != NULL;
}

static void look_for_paths(struct plausible_scan *s, struct span data)
{
    uint8_t seam[2 * sizeof(s->carry)];
    size_t next = MIN_OF(data.len, sizeof(s->carry));
    memcpy(seam, s->carry, s->carry_len);
    memcpy(seam + s->carry_len, data.data, next);
    struct span both = span_of(seam, s->carry_len + next);
    s->has_imei_path |= has_word(both, "NVD_IMEI") || has_word(data, "NVD_IMEI");
    s->has_wifi_path |= has_word(both, "WIFI") || has_word(data, "WIFI");
    s->carry_len = next;
    memcpy(s->carry, data.data + data.len - next, next);
}

/* Counts bytes that are neither 00 nor FF a word at a time: images are mostly runs of one of them.
 */
static void count(struct plausible_scan *s, struct span data)
{
    size_t i = 0;
    uint64_t zeros = 0, ffs = 0;
    while (i < data.len) {
        uint64_t word;
        if (data.len - i >= sizeof(word)) {
            memcpy(&word, data.data + i, sizeof(word));
            if (word == 0 || word == UINT64_MAX) {
                *(word ? &ffs : &zeros) += sizeof(word);
                i += sizeof(word);
                continue;
            }
        }
        size_t end = MIN_OF(i + sizeof(word), data.len);
        for (; i < end; i++) {
            zeros += data.data[i] == 0;
            ffs += data.data[i] == 0xff;
        }
    }
    s->nonzero_bytes += data.len - zeros;
    s->not_ff_bytes += data.len - ffs;
}

void plausible_feed(struct plausible_scan *s, struct span data)
{
    if (data.len == 0)
        return;
    uint64_t at = s->fed_bytes;
    if (at < sizeof(s->head)) {
        size_t n = MIN_OF(data.len, sizeof(s->head) - (size_t)at);
        memcpy(s->head + at, data.data, n);
    }
    count(s, data);
    if (s->role->contents == CONTENTS_NVRAM)
        look_for_paths(s, data);
    advance(s, data.len);
    inode_take(s, at, data);
}

void plausible_hole(struct plausible_scan *s, uint64_t len)
{
    s->not_ff_bytes += len;
    if (len)
        s->carry_len = 0;
    advance(s, len); /* the head is zero already */
}

/* ---- judging -------------------------------------------------------------------------------- */

/* A folder with something in it: at least itself and its parent. */
static bool root_is_there(const struct plausible_scan *s)
{
    return (get_le16(s->inode + INODE_MODE) & MODE_KIND) == MODE_FOLDER &&
           get_le32(s->inode + INODE_SIZE) && get_le16(s->inode + INODE_LINKS);
}

/* What need not be damage, and should not be; NULL when there is none of it. */
static const char *ext4_doubt(const struct plausible_scan *s)
{
    const uint8_t *h = s->head;
    if (get_le16(h + X_STATE) & STATE_ERRORS)
        return "the phone found errors in its file system";
    if ((get_le32(h + X_COMPAT) & ~(uint32_t)COMPAT_KNOWN) ||
        (get_le32(h + X_RO_COMPAT) & ~(uint32_t)RO_COMPAT_KNOWN))
        return "its file system has features that are not known";
    if (!root_is_there(s))
        return "the root folder of its file system is empty: damaged, or never used";
    return NULL;
}

static void judge_ext4(const struct plausible_scan *s, struct plausible *out)
{
    static const uint8_t no_uuid[16];
    const uint8_t *h = s->head;
    if (get_le16(h + X_MAGIC) != X_MAGIC_VALUE) {
        say(out, PLAUSIBLE_NO, WHY_DAMAGED, "%s holds no file system: wrong place or damaged dump",
            s->name);
        return;
    }
    uint32_t log_block = get_le32(h + X_LOG_BLOCK), incompat = get_le32(h + X_INCOMPAT);
    uint64_t blocks = get_le32(h + X_BLOCKS);
    if (incompat & INCOMPAT_64BIT)
        blocks |= (uint64_t)get_le32(h + X_BLOCKS_HIGH) << 32;
    if (log_block > X_LOG_BLOCK_MAX || (incompat & ~(uint32_t)INCOMPAT_KNOWN) ||
        memcmp(h + X_UUID, no_uuid, sizeof(no_uuid)) == 0 || blocks == 0) {
        say(out, PLAUSIBLE_NO, WHY_DAMAGED, "%s: the head of its file system is damaged", s->name);
        return;
    }
    if (blocks > s->size_bytes >> (10 + log_block)) {
        say(out, PLAUSIBLE_NO, WHY_WRONG_SIZE,
            "%s: its file system is larger than the image: cut short, or another phone model",
            s->name);
        return;
    }
    const char *doubt = ext4_doubt(s);
    if (doubt) {
        say(out, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "%s: %s; compare with another dump", s->name,
            doubt);
        return;
    }
    say(out, PLAUSIBLE_YES, WHY_FINE, "%s",
        incompat & INCOMPAT_RECOVER ? "file system present (was in use when the dump was taken)"
                                    : "file system present");
}

static void judge_proinfo(const struct plausible_scan *s, struct plausible *out)
{
    struct err err;
    struct serial_check check;
    if (proinfo_serial(span_of(s->head, sizeof(s->head)), out->serial, &err) < 0) {
        say(out, PLAUSIBLE_NO, WHY_BAD_SERIAL, "%s", err.text);
        return;
    }
    serial_check(out->serial, SERIAL_PROJECT_X5, &check);
    if (check.verdict == SERIAL_VALID)
        say(out, PLAUSIBLE_YES, WHY_FINE, "serial %s", out->serial);
    else if (check.verdict == SERIAL_PLACEHOLDER || check.verdict == SERIAL_EMPTY)
        say(out, PLAUSIBLE_NO, WHY_PLACEHOLDER,
            "proinfo holds %s%s instead of a serial: taken after the loss",
            out->serial[0] ? "the placeholder " : "nothing", out->serial);
    else
        say(out, PLAUSIBLE_NO, WHY_BAD_SERIAL,
            "proinfo begins with '%s', which is not a serial of this model", out->serial);
}

enum { NVRAM_HEAD_BYTES = 16, NVRAM_SIZE_AT = 4, NVRAM_NONZERO_MIN = 64 };

static void judge_nvram(const struct plausible_scan *s, struct plausible *out)
{
    static const uint8_t zeros[NVRAM_HEAD_BYTES];
    uint32_t content = get_le32(s->head + NVRAM_SIZE_AT);
    if (memcmp(s->head, zeros, sizeof(zeros)) == 0 || s->nonzero_bytes < NVRAM_NONZERO_MIN)
        say(out, PLAUSIBLE_NO, WHY_EMPTY, "nvram has an empty head: taken after the loss");
    else if (content == 0 || content >= s->size_bytes || !s->has_imei_path || !s->has_wifi_path)
        say(out, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN,
            "nvram is not empty, but the usual names (NVD_IMEI, WIFI) are not all in it: compare "
            "the IMEI after the first start");
    else
        say(out, PLAUSIBLE_YES, WHY_FINE, "radio data present");
}

static void judge_seccfg(const struct plausible_scan *s, struct plausible *out)
{
    if (memcmp(s->head, "MMMM", 4) == 0 && memmem(s->head, 0x40, "EEEE", 4))
        say(out, PLAUSIBLE_YES, WHY_FINE, "lock state present (kept, never written back)");
    else
        say(out, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "no lock state of a known form");
}

static void judge_para(const struct plausible_scan *s, struct plausible *out)
{
    struct para p;
    struct err err;
    int rc = para_decode(span_of(s->head, sizeof(s->head)), &p, &err);
    char slot = rc < 0 ? 0 : para_active_slot(&p);
    if (slot)
        say(out, PLAUSIBLE_YES, WHY_FINE, "slot %c is active", slot);
    else
        say(out, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "%s", rc < 0 ? err.text : "no slot may start");
}

static void judge_systeminfo(const struct plausible_scan *s, struct plausible *out)
{
    struct fw_version v;
    if (systeminfo_decode(span_of(s->head, sizeof(s->head)), &v, NULL) == 0)
        say(out, PLAUSIBLE_YES, WHY_FINE, "firmware %s", v.text);
    else
        say(out, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "no firmware version in it");
}

static void judge_lk(const struct plausible_scan *s, struct plausible *out)
{
    struct mtk_image image;
    struct err err;
    if (lk_check(span_of(s->head, sizeof(s->head)), s->size_bytes, &image, &err) < 0)
        say(out, PLAUSIBLE_NO, WHY_DAMAGED, "%s", err.text);
    else
        say(out, PLAUSIBLE_YES, WHY_FINE, "bootloader of %u bytes", image.data_bytes);
}

static void judge_elabel(const struct plausible_scan *s, struct plausible *out)
{
    (void)s; /* emptiness was ruled out before; nothing more is known about it */
    say(out, PLAUSIBLE_YES, WHY_FINE, "not empty");
}

static void judge_any(const struct plausible_scan *s, struct plausible *out)
{
    (void)s;
    say(out, PLAUSIBLE_UNKNOWN, WHY_NOT_CHECKED, "not part of the identity, not checked");
}

typedef void judge_fn(const struct plausible_scan *s, struct plausible *out);
static judge_fn *const judges[] = {
    [CONTENTS_ANY] = judge_any,         [CONTENTS_EXT4] = judge_ext4,
    [CONTENTS_PROINFO] = judge_proinfo, [CONTENTS_NVRAM] = judge_nvram,
    [CONTENTS_ELABEL] = judge_elabel,   [CONTENTS_SECCFG] = judge_seccfg,
    [CONTENTS_PARA] = judge_para,       [CONTENTS_SYSTEMINFO] = judge_systeminfo,
    [CONTENTS_LK] = judge_lk,
};

/* What an empty image means: for the identity of a phone that it is lost; para, seccfg and
 * systeminfo may be empty on a healthy phone as far as is known. */
static bool judge_empty(const struct plausible_scan *s, struct plausible *out)
{
    if (s->nonzero_bytes && s->not_ff_bytes)
        return false;
    const char *all = s->nonzero_bytes ? "FF" : "00";
    enum role_contents c = s->role->contents;
    if (c == CONTENTS_SECCFG || c == CONTENTS_PARA || c == CONTENTS_SYSTEMINFO || c == CONTENTS_LK)
        say(out, PLAUSIBLE_UNKNOWN, WHY_UNCERTAIN, "%s is empty (all %s)", s->name, all);
    else if (c == CONTENTS_ELABEL)
        say(out, PLAUSIBLE_NO, WHY_EMPTY, "elabel is empty (all %s); a phone works without it",
            all);
    else
        say(out, PLAUSIBLE_NO, WHY_EMPTY,
            "%s is empty (all %s): taken after the loss, look for an older dump", s->name, all);
    return true;
}

void plausible_end(const struct plausible_scan *s, struct plausible *out)
{
    *out = (struct plausible){.verdict = PLAUSIBLE_UNKNOWN};
    if (s->fed_bytes == 0 && s->size_bytes)
        say(out, PLAUSIBLE_NO, WHY_CUT_SHORT, "%s is not in the dump", s->name);
    else if (s->fed_bytes < s->size_bytes)
        say(out, PLAUSIBLE_NO, WHY_CUT_SHORT, "the dump ends inside %s: %llu of %llu bytes",
            s->name, (unsigned long long)s->fed_bytes, (unsigned long long)s->size_bytes);
    else if (s->role->contents == CONTENTS_ANY)
        judge_any(s, out);
    else if (s->expected_bytes && s->expected_bytes != s->size_bytes)
        say(out, PLAUSIBLE_NO, WHY_WRONG_SIZE,
            "%s has %llu bytes, on this phone model it has %llu: another layout", s->name,
            (unsigned long long)s->size_bytes, (unsigned long long)s->expected_bytes);
    else if (!judge_empty(s, out))
        judges[s->role->contents](s, out);
}

void plausible_of(const char *name, struct span image, uint64_t expected_bytes,
                  struct plausible *out)
{
    struct plausible_scan s;
    plausible_begin(&s, name, image.len, expected_bytes);
    plausible_feed(&s, image);
    plausible_end(&s, out);
}

/* ---- the set -------------------------------------------------------------------------------- */

const char *set_verdict_name(enum set_verdict v)
{
    static const char *const names[] = {"usable",
                                        "usable_without_elabel",
                                        "incomplete",
                                        "taken_after_the_loss",
                                        "placeholder_serial",
                                        "another_phone"};
    return names[v];
}

static const struct plausible *item_of(const struct set_item *items, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i].name, name) == 0)
            return &items[i].judged;
    return NULL;
}

static void judge_needed(struct set_judgement *out, const char *name, const struct plausible *p)
{
    enum set_verdict v = SET_INCOMPLETE;
    if (p && p->verdict != PLAUSIBLE_NO)
        return;
    if (p && p->why == WHY_EMPTY)
        v = SET_AFTER_LOSS;
    if (p && (p->why == WHY_PLACEHOLDER))
        v = SET_PLACEHOLDER;
    if (v <= out->verdict)
        return; /* the worst is told */
    out->verdict = v;
    if (p)
        snprintf(out->reason, sizeof(out->reason), "%s", p->reason);
    else
        snprintf(out->reason, sizeof(out->reason), "%s is missing from the backup", name);
}

static void judge_label(struct set_judgement *out, const char *label)
{
    int at = 0;
    enum serial_match m = serial_compare(label, out->serial, &at);
    if (m == SERIAL_SAME)
        return;
    out->verdict = SET_OTHER_PHONE;
    if (m == SERIAL_CONFUSABLE)
        snprintf(out->reason, sizeof(out->reason),
                 "the label says %s, the backup %s: place %d looks alike, scan the label again",
                 label, out->serial, at);
    else
        snprintf(out->reason, sizeof(out->reason),
                 "this backup is of another phone: its serial is %s, the label says %s",
                 out->serial, label);
}

void plausible_set(const struct set_item *items, size_t n, const char *label,
                   struct set_judgement *out)
{
    *out = (struct set_judgement){.verdict = SET_USABLE};
    snprintf(out->reason, sizeof(out->reason), "everything that a restore needs is there");
    for (size_t i = 0; role_identity_names[i]; i++)
        if (role_of(role_identity_names[i])->required)
            judge_needed(out, role_identity_names[i], item_of(items, n, role_identity_names[i]));
    const struct plausible *proinfo = item_of(items, n, "proinfo");
    if (proinfo)
        snprintf(out->serial, sizeof(out->serial), "%s", proinfo->serial);
    bool serial_known = proinfo && proinfo->verdict == PLAUSIBLE_YES;
    if (label && serial_known)
        judge_label(out, label);
    const struct plausible *elabel = item_of(items, n, "elabel");
    if (out->verdict == SET_USABLE && (!elabel || elabel->verdict == PLAUSIBLE_NO)) {
        out->verdict = SET_WITHOUT_ELABEL;
        snprintf(out->reason, sizeof(out->reason),
                 "usable; the regulatory label pictures (elabel) are missing, the phone works "
                 "without them");
    }
}
