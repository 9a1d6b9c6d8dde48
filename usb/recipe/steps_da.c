/* steps_da.c: what is done through boot ROM, preloader and download agent. Step numbers and failure ids are
 * those of usb/recipe/README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/clock.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/da_file.h"
#include "usb/format/emi.h"
#include "usb/format/firmware.h"
#include "usb/format/lk.h"
#include "usb/format/para.h"
#include "usb/format/plausible.h"
#include "usb/format/systeminfo.h"
#include "usb/recipe/image.h"
#include "usb/recipe/internal.h"

enum {
    SECTOR_BYTES = 512,
    PGPT_BYTES = 34 * SECTOR_BYTES,
    SGPT_BYTES = 33 * SECTOR_BYTES,
    CHUNK_RAW_BYTES = 1 << 20,
    LK_PROOF_BYTES = 64 * 1024, /* so much of an LK must agree before it is called that one */
};

int action_connect(struct session *s, const struct recipe_step *step, struct err *err)
{
    char modes[RECIPE_NAME_MAX * 4] = "";
    for (size_t i = 0; i < step->modes.count && i < 4; i++)
        snprintf(modes + strlen(modes), sizeof(modes) - strlen(modes), "%s%s", i ? " " : "",
                 step->modes.names[i]);
    return session_attach(s, modes, step->timeout_s ? step->timeout_s : 600, true, err);
}

/* ---- S4: the download agent ---------------------------------------------------------------------------- */

struct agent { /* what is sent, cut out of the package's files */
    struct buf da1, da2, preloader;
    uint32_t da1_address, da1_signature_bytes;
    struct da_images images;
};

static void agent_deinit(struct agent *a)
{
    buf_deinit(&a->da1);
    buf_deinit(&a->da2);
    buf_deinit(&a->preloader);
}

static int load_stage(int fd, const struct da_stage *stage, size_t length, struct buf *out,
                      struct err *err)
{
    uint8_t *at = buf_grow(out, length);
    if (!at)
        return err_set(err, ERR_LIMIT, "download agent stage of %zu bytes", length);
    return io_pread(fd, at, length, stage->offset, err);
}

static int load_agent(struct session *s, struct agent *a, struct err *err)
{
    AUTO(free_ptr) struct da_file *file = xcalloc(1, sizeof(*file));
    AUTO(buf_deinit) struct buf head = {0};
    int fd = session_input(s, "da");
    int64_t size = fd < 0 ? err_set(err, ERR_NOT_FOUND, "the package has no download agent file")
                          : io_size(fd, err);
    if (size < 0)
        return (int)size;
    size_t head_len = size < DA_TABLE_BYTES ? (size_t)size : DA_TABLE_BYTES;
    buf_init(&head, DA_TABLE_BYTES);
    int rc = io_pread(fd, buf_grow(&head, head_len), head_len, 0, err);
    if (rc == 0)
        rc = da_file_decode(buf_span(&head), (uint64_t)size, file, err);
    const struct da_entry *entry = NULL;
    if (rc == 0)
        rc = da_file_pick(file, s->plan->recipe.da_code, s->brom.hw_version, s->brom.sw_version,
                          &entry, err);
    if (rc < 0)
        return rc;
    struct da_stage one = da_stage1(entry), two = da_stage2(entry);
    buf_init(&a->da1, DA1_BYTES_MAX);
    buf_init(&a->da2, DA2_BYTES_MAX);
    rc = load_stage(fd, &one, one.length, &a->da1, err);
    if (rc == 0)
        rc = load_stage(fd, &two, two.length, &a->da2, err);
    a->da1_address = one.load_address;
    a->da1_signature_bytes = one.signature_length;
    a->images.da2_address = two.load_address;
    a->images.da2 = buf_span(&a->da2);
    return rc;
}

static int load_emi(struct session *s, struct agent *a, struct err *err)
{
    int rc = session_slurp(s, "preloader", PRELOADER_BYTES_MAX, &a->preloader, err);
    return rc < 0 ? rc : emi_cut(buf_span(&a->preloader), &a->images.emi, err);
}

/* Who the phone is decides what is written, and what the catalogue believes of other phones: one wrong bit would
 * make it a phone that does not exist and its numbers a conflict, so the answer has to come twice. */
static int ask_twice(struct session *s, struct err *err)
{
    struct brom_info again;
    int rc = brom_identify(&s->link, &s->brom, err);
    if (rc == 0)
        rc = brom_identify(&s->link, &again, err);
    if (rc < 0)
        return rc;
    const struct brom_info *first = &s->brom;
    bool same = first->hw_code == again.hw_code && first->target_config == again.target_config &&
                first->has_me_id == again.has_me_id && first->has_soc_id == again.has_soc_id &&
                memcmp(first->me_id, again.me_id, sizeof(again.me_id)) == 0 &&
                memcmp(first->soc_id, again.soc_id, sizeof(again.soc_id)) == 0;
    return same ? 0
                : err_set(err, ERR_PROTOCOL,
                          "the phone tells another chip or chip id the second time");
}

static int identify(struct session *s, struct err *err)
{
    enum brom_stage stage = strcmp(s->mode, "brom") == 0 ? BROM_STAGE_BROM : BROM_STAGE_PRELOADER;
    int rc = brom_start(&s->link, stage, s->identity.comm_interface, err);
    if (rc == 0)
        rc = ask_twice(s, err);
    if (rc < 0)
        return failed(s, "C5", err);
    if (s->brom.hw_code != s->plan->recipe.hw_code)
        return fail(s, "B3", err, ERR_MISMATCH, "this phone has chip %04x, the recipe is for %04x",
                    s->brom.hw_code, s->plan->recipe.hw_code);
    if (!s->brom.has_me_id)
        return fail(s, "F4", err, ERR_REFUSED,
                    "this phone does not tell its chip id: it cannot be told "
                    "from another one");
    hex_encode(span_of(s->brom.me_id, sizeof(s->brom.me_id)), s->chip_id);
    if (s->brom.has_soc_id)
        hex_encode(span_of(s->brom.soc_id, 32), s->soc_id);
    rc = gate_see_chip(s->gate, s->chip_id, err);
    if (rc < 0)
        return failed(s, "F4", err);
    s->host.facts(s->host.arg,
                  json_pack("{s:s, s:s, s:s, s:i}", "chip_id", s->chip_id, "soc_id", s->soc_id,
                            "stage", stage == BROM_STAGE_BROM ? "brom" : "preloader",
                            "target_config", (int)s->brom.target_config));
    return 0;
}

int action_identify(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    return identify(s, err);
}

/* What the phone thinks of a file that it was sent: it asks for its owner's authentication, unless the sum says that the bytes
 * were spoilt on their way. */
static int upload_failed(struct session *s, struct err *err)
{
    return failed(s, err->code == ERR_VERIFY ? "C11" : "C6", err);
}

static int authenticate(struct session *s, struct err *err)
{
    AUTO(buf_deinit) struct buf auth = {0};
    struct span file = {NULL, 0};
    if (session_input(s, "auth") >= 0) {
        if (session_slurp(s, "auth", 1 << 20, &auth, err) < 0)
            return failed(s, "B6", err);
        file = buf_span(&auth);
    }
    int rc = brom_authenticate(&s->link, &s->brom, file, err);
    return rc < 0 ? upload_failed(s, err) : 0;
}

static int start_agent(struct session *s, struct err *err)
{
    AUTO(agent_deinit) struct agent a = {0};
    int rc = load_agent(s, &a, err);
    if (rc == 0)
        rc = load_emi(s, &a, err);
    if (rc < 0)
        return failed(s, "B6", err);
    rc = brom_send_da(&s->link, a.da1_address, buf_span(&a.da1), a.da1_signature_bytes, err);
    if (rc == 0)
        rc = brom_jump_da(&s->link, a.da1_address, err);
    if (rc < 0)
        return upload_failed(s, err);
    da_init(&s->da, &s->link);
    s->da_up = true;
    rc = da_bring_up(&s->da, DA_OPTIONS_DEFAULT, &a.images, err);
    return rc < 0 ? failed(s, rc == ERR_AUTH_NEEDED ? "C6" : "C7", err) : 0;
}

/* A boot ROM talks full speed; the agent comes back at high speed as another device. */
static int speed_up(struct session *s, struct err *err)
{
    char speed[DA_TEXT_BYTES];
    if (s->identity.speed != 2)
        return 0;
    int rc = da_get_text(&s->da, XFLASH_GET_USB_SPEED, speed, err);
    if (rc < 0 || strcmp(speed, "full-speed") != 0)
        return rc < 0 ? rc : 0;
    rc = da_switch_usb_speed(&s->da, err);
    if (rc < 0)
        return rc;
    transport_close(&s->transport);
    rc = s->host.device(s->host.arg, "da", clock_in(15000), &s->transport, &s->identity, s->mode,
                        sizeof(s->mode), err);
    if (rc < 0)
        return rc == ERR_TIMEOUT ? err_set(err, ERR_GONE,
                                           "the phone did not come back after the speed "
                                           "switch")
                                 : rc;
    session_link(s);
    da_reattach(&s->da, &s->link);
    return 0;
}

struct collect {
    uint8_t *dst;
    size_t at, size;
};

static int collect_sink(void *arg, const void *data, size_t len, struct err *err)
{
    struct collect *c = arg;
    if (len > c->size - c->at)
        return err_set(err, ERR_PROTOCOL, "the phone sent more than was asked for");
    memcpy(c->dst + c->at, data, len);
    c->at += len;
    return 0;
}

static int read_small(struct session *s, uint64_t at, void *dst, size_t len, struct err *err)
{
    struct collect c = {dst, 0, len};
    return da_read(&s->da, XFLASH_USER, at, len, collect_sink, &c, err);
}

static int read_table(struct session *s, struct err *err)
{
    AUTO(free_ptr) uint8_t *raw = xcalloc(1, PGPT_BYTES);
    uint64_t user = s->da.emmc.user_bytes;
    int rc = read_small(s, 0, raw, PGPT_BYTES, err);
    if (rc < 0)
        return rc;
    struct err primary = {0};
    if (gpt_decode_primary(span_of(raw, PGPT_BYTES), SECTOR_BYTES, &s->gpt, &primary) == 0 &&
        gpt_check_places(&s->gpt, &primary) == 0)
        return 0;
    note(s, "warn", "partition table: %s; taking the copy at the end", primary.text);
    rc = read_small(s, user - SGPT_BYTES, raw, SGPT_BYTES, err);
    if (rc == 0)
        rc = gpt_decode_backup(span_of(raw, SGPT_BYTES), SECTOR_BYTES, &s->gpt, err);
    if (rc == 0)
        rc = gpt_check_places(&s->gpt, err);
    return rc < 0 ? failed(s, "B5", err) : 0;
}

int action_da_start(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    int rc = identify(s, err);
    if (rc == 0)
        rc = authenticate(s, err);
    if (rc == 0)
        rc = start_agent(s, err);
    if (rc == 0)
        rc = speed_up(s, err);
    if (rc < 0)
        return rc;
    snprintf(s->mode, sizeof(s->mode), "da");
    s->host.facts(s->host.arg, json_pack("{s:s}", "mode", "da"));
    if (s->da.emmc.type != 1 || s->da.emmc.user_bytes < 2 * PGPT_BYTES)
        return fail(s, "B3", err, ERR_MISMATCH, "this phone has no eMMC that the agent can see");
    rc = read_table(s, err);
    if (rc == 0 && gate_see_layout(s->gate, &s->gpt, err) < 0)
        rc = failed(s, "B5", err);
    return rc;
}

/* ---- S5: the identity set, read twice ------------------------------------------------------------------- */

struct member { /* of the backup set, where it lies on this phone */
    const char *name, *area;
    enum xflash_section section;
    uint64_t offset_bytes, size_bytes;
};

static bool find_member(const struct session *s, const char *name, struct member *m)
{
    const struct xflash_emmc_info *emmc = &s->da.emmc;
    struct extent e;
    *m = (struct member){.name = name, .area = "USER", .section = XFLASH_USER};
    if (strcmp(name, "pgpt") == 0) {
        m->size_bytes = PGPT_BYTES;
    } else if (strcmp(name, "sgpt") == 0) {
        m->offset_bytes = emmc->user_bytes - SGPT_BYTES;
        m->size_bytes = SGPT_BYTES;
    } else if (strcmp(name, "boot1") == 0) {
        *m = (struct member){name, "BOOT1", XFLASH_BOOT1, 0, emmc->boot1_bytes};
    } else if (strcmp(name, "boot2") == 0) {
        *m = (struct member){name, "BOOT2", XFLASH_BOOT2, 0, emmc->boot2_bytes};
    } else if (gpt_lookup(&s->gpt, name, &e, NULL) == 0) {
        m->offset_bytes = e.start_bytes;
        m->size_bytes = e.size_bytes;
    } else {
        return false;
    }
    return m->size_bytes > 0;
}

struct saving { /* one member on its way into the spool */
    struct session *s;
    struct hasher *hasher;
    struct plausible_scan scan;
    uint8_t *chunk;
    size_t chunk_len;
    struct sha256 *chunks;
    size_t chunk_count;
    bool to_spool; /* false: second reading, hashed only */
};

static int flush_chunk(struct saving *v, struct err *err)
{
    if (v->chunk_len == 0)
        return 0;
    int rc = v->s->host.chunk(v->s->host.arg, span_of(v->chunk, v->chunk_len),
                              &v->chunks[v->chunk_count], err);
    v->chunk_count++;
    v->chunk_len = 0;
    return rc;
}

static int saving_sink(void *arg, const void *data, size_t len, struct err *err)
{
    struct saving *v = arg;
    const uint8_t *at = data;
    hasher_update(v->hasher, data, len);
    if (!v->to_spool)
        return 0;
    plausible_feed(&v->scan, span_of(data, len));
    while (len) {
        size_t n = CHUNK_RAW_BYTES - v->chunk_len;
        if (n > len)
            n = len;
        memcpy(v->chunk + v->chunk_len, at, n);
        v->chunk_len += n;
        at += n;
        len -= n;
        if (v->chunk_len == CHUNK_RAW_BYTES) {
            int rc = flush_chunk(v, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int read_member(struct saving *v, const struct member *m, struct sha256 *out,
                       struct err *err)
{
    int rc = da_read(&v->s->da, m->section, m->offset_bytes, m->size_bytes, saving_sink, v, err);
    v->s->base_bytes += m->size_bytes;
    *out = hasher_finish(v->hasher);
    return rc;
}

static int save_member(struct saving *v, const struct member *m, struct set_item *item,
                       struct err *err)
{
    struct sha256 first, second;
    v->chunk_count = v->chunk_len = 0;
    v->to_spool = true;
    plausible_begin(&v->scan, m->name, m->size_bytes, m->size_bytes);
    int rc = read_member(v, m, &first, err);
    if (rc == 0)
        rc = flush_chunk(v, err);
    v->to_spool = false;
    if (rc == 0)
        rc = read_member(v, m, &second, err);
    if (rc < 0)
        return rc;
    if (!sha256_equal(&first, &second))
        return fail(v->s, "C8", err, ERR_VERIFY, "%s reads differently the second time", m->name);
    plausible_end(&v->scan, &item->judged);
    item->name = m->name;
    if (strcmp(m->name, "nvram") == 0)
        v->s->nvram_whole = item->judged.verdict != PLAUSIBLE_NO;
    struct session_image image = {.name = m->name,
                                  .area = m->area,
                                  .offset_bytes = m->offset_bytes,
                                  .size_bytes = m->size_bytes,
                                  .sha256 = first,
                                  .chunks = v->chunks,
                                  .chunk_count = v->chunk_count,
                                  .plausible = item->judged.verdict == PLAUSIBLE_YES  ? 1
                                               : item->judged.verdict == PLAUSIBLE_NO ? -1
                                                                                      : 0,
                                  .reason = item->judged.reason};
    return v->s->host.partition(v->s->host.arg, &image, err);
}

/* Law 5: what another job left in a slot is taken out by this one. */
static void clean_slot_too(struct session *s, char slot, const char *how)
{
    if (!s->service_lk[slot - 'a'])
        note(s, "warn",
             "slot %c %s the service bootloader of an earlier job: the commercial one will be put "
             "back",
             slot, how);
    s->service_lk[slot - 'a'] = true;
}

static int ask_permit(struct session *s, const struct set_item *items, size_t count, bool complete,
                      struct err *err)
{
    struct set_judgement set;
    plausible_set(items, count, NULL, &set);
    snprintf(s->own_serial, sizeof(s->own_serial), "%s", set.serial);
    note(s, "info", "identity on the phone: %s", set.reason[0] ? set.reason : "whole");
    int rc = s->host.manifest(s->host.arg, s->chip_id, set.serial, set_verdict_name(set.verdict),
                              complete, &s->manifest, err);
    if (rc < 0)
        return rc;
    s->backed_up = true;
    gate_see_backup(s->gate, &s->manifest, complete);
    struct session_permit permit;
    rc = s->host.permit(s->host.arg, &s->manifest, &s->config->plan_sha256, s->chip_id, &permit,
                        s->failure, err);
    if (rc == 0)
        rc = gate_permit(s->gate, &permit, err);
    for (char slot = 'a'; rc == 0 && slot <= 'b'; slot++)
        if (permit.service_lk[slot - 'a'])
            clean_slot_too(s, slot, "may hold");
    return rc;
}

/* Law 1 does not depend on what a recipe says: a set that leaves out a part of the identity is none. */
static int check_set(struct session *s, struct err *err)
{
    for (const char *const *name = role_identity_names; *name; name++)
        if (!recipe_list_has(&s->plan->recipe.backup_set, *name))
            return fail(s, "L1", err, ERR_REFUSED, "the recipe's backup_set leaves out %s", *name);
    return 0;
}

int action_backup(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    const struct recipe_list *set = &s->plan->recipe.backup_set;
    if (check_set(s, err) < 0)
        return err->code;
    struct member members[RECIPE_LIST_MAX];
    AUTO(free_ptr) struct set_item *items = xcalloc(RECIPE_LIST_MAX, sizeof(*items));
    size_t count = 0, chunk_max = 1;
    uint64_t total = 0;
    bool complete = true;
    for (size_t i = 0; i < set->count; i++) {
        if (!find_member(s, set->names[i], &members[count])) {
            note(s, "warn", "this phone has no %s", set->names[i]);
            complete = complete && !role_of(set->names[i])->required;
            continue;
        }
        total += members[count].size_bytes;
        size_t chunks = (size_t)(members[count].size_bytes / CHUNK_RAW_BYTES) + 1;
        chunk_max = MAX_OF(chunk_max, chunks);
        count++;
    }
    if (!complete)
        return fail(s, "B5", err, ERR_MISMATCH,
                    "this phone lacks a partition that holds its identity");
    progress_begin(s, 2 * total);
    struct saving v = {.s = s, .hasher = hasher_new()};
    v.chunk = xcalloc(1, CHUNK_RAW_BYTES);
    v.chunks = xcalloc(chunk_max, sizeof(*v.chunks));
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = save_member(&v, &members[i], &items[i], err);
    hasher_free(&v.hasher);
    free(v.chunk);
    free(v.chunks);
    return rc < 0 ? rc : ask_permit(s, items, count, complete, err);
}

/* ---- S6 -------------------------------------------------------------------------------------------------- */

static int read_slot(struct session *s, struct err *err)
{
    uint8_t head[5 * SECTOR_BYTES];
    struct extent e;
    struct para para;
    if (gpt_lookup(&s->gpt, "para", &e, err) < 0)
        return failed(s, "B5", err);
    int rc = read_small(s, e.start_bytes, head, sizeof(head), err);
    if (rc < 0)
        return rc;
    struct err why = {0};
    if (para_decode(span_of(head, sizeof(head)), &para, &why) < 0) {
        note(s, "warn", "slot metadata: %s; the bootloader then starts slot a", why.text);
        s->slot = 'a';
        return 0;
    }
    s->slot = para_active_slot(&para);
    if (s->slot == 0)
        return fail(s, "E3", err, ERR_REFUSED, "both slots are marked as not bootable");
    return 0;
}

/* Of an LK in the package. */
static int64_t image_bytes(const struct session *s, const char *image, struct err *err)
{
    int fd = session_input(s, image);
    int64_t size = fd < 0 ? err_set(err, ERR_NOT_FOUND, "the package has no %s file", image)
                          : io_size(fd, err);
    return size > LK_FILE_BYTES_MAX
               ? err_set(err, ERR_LIMIT, "%s has %lld bytes, at most %d are read", image,
                         (long long)size, LK_FILE_BYTES_MAX)
               : size;
}

static size_t common_bytes(const uint8_t *a, const uint8_t *b, size_t max)
{
    size_t n = 0;
    while (n < max && a[n] == b[n])
        n++;
    return n;
}

/* How many bytes `here` and an image of the package begin with in common. Read in pieces: a worker holds no two
 * bootloaders at once. */
static int common_with_image(const struct session *s, const char *image, const struct buf *here,
                             size_t *common_out, struct err *err)
{
    uint8_t piece[16 * 1024];
    size_t at = 0, same = sizeof(piece);
    int64_t size = image_bytes(s, image, err);
    if (size < 0)
        return (int)size;
    size_t max = MIN_OF((size_t)size, here->len);
    while (at < max && same == sizeof(piece)) {
        size_t n = MIN_OF(sizeof(piece), max - at);
        int rc = io_pread(session_input(s, image), piece, n, (int64_t)at, err);
        if (rc < 0)
            return rc;
        same = common_bytes(piece, here->data + at, n);
        at += same;
    }
    *common_out = at;
    return 0;
}

static const struct plan_write *lk_write(const struct session *s, char slot, enum plan_class class)
{
    for (size_t i = 0; i < s->plan->write_count; i++)
        if (s->plan->writes[i].slot == slot && s->plan->writes[i].write_class == class)
            return &s->plan->writes[i];
    return NULL;
}

/* Does this slot hold the service LK, or the beginning of one whose write was cut? Told by which of the two
 * images it agrees with longer. */
static int holds_service_lk(struct session *s, char slot, bool *holds_out, struct err *err)
{
    const struct plan_write *service = lk_write(s, slot, PLAN_SERVICE_LK);
    const struct plan_write *commercial = lk_write(s, slot, PLAN_COMMERCIAL);
    AUTO(buf_deinit) struct buf here = {0};
    size_t same = 0, other = 0;
    struct extent e;
    if (!service || !commercial)
        return 0;
    int64_t size = image_bytes(s, service->image, err);
    if (size < 0)
        return failed(s, "B6", err);
    int rc = gpt_lookup(&s->gpt, service->partition, &e, err);
    if (rc < 0)
        return failed(s, "B5", err);
    buf_init(&here, LK_FILE_BYTES_MAX);
    size_t len = ((size_t)size + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    len = MIN_OF(len, (size_t)MIN_OF(e.size_bytes, (uint64_t)LK_FILE_BYTES_MAX));
    rc = read_small(s, e.start_bytes, buf_grow(&here, len), len, err);
    if (rc == 0)
        rc = common_with_image(s, service->image, &here, &same, err);
    if (rc == 0)
        rc = common_with_image(s, commercial->image, &here, &other, err);
    *holds_out = rc == 0 && same >= MIN_OF((size_t)size, LK_PROOF_BYTES) && same > other;
    return rc;
}

/* A job before this one may have ended, or been cut, with the service LK in a slot: this job takes it out, too
 * (law 5), also of the slot that is not active. */
static int find_service_lk(struct session *s, struct err *err)
{
    for (char slot = 'a'; slot <= 'b'; slot++) {
        bool holds = false;
        int rc = holds_service_lk(s, slot, &holds, err);
        if (rc < 0)
            return rc;
        if (holds)
            clean_slot_too(s, slot, "holds");
    }
    return 0;
}

/* Rules V1 to V6 are usb/format/firmware.h's; what they mean in a job is README.md, "Gates". There is no supervisor
 * at hand in the middle of a job: what one would have to confirm is refused, but for an unknown version when only the
 * bootloader is written. */
static int check_gates(struct session *s, const struct fw_version *phone, struct err *err)
{
    static const char *const failures[FIRMWARE_GATES] = {"B3", "B4", "B4", "E7", "D13", "B4"};
    struct gate_result gates[FIRMWARE_GATES];
    struct fw_version package;
    int rc = fw_version_parse(s->plan->package_version, &package, err);
    if (rc < 0)
        return failed(s, "B6", err);
    struct gate_phone here = {.version = phone, .project = s->plan->serial, .battery_percent = -1};
    firmware_gates(&package, &here, gates);
    bool only_lk = strcmp(s->plan->finish, "lk") == 0;
    for (size_t i = 0; i < FIRMWARE_GATES; i++) {
        bool passable = gates[i].action == GATE_WARN || (!phone && only_lk);
        if (gates[i].action == GATE_PASS)
            continue;
        if (!passable || gates[i].action == GATE_REFUSE)
            return fail(s, failures[i], err,
                        gates[i].action == GATE_REFUSE && i == 0 ? ERR_MISMATCH : ERR_REFUSED, "%s",
                        gates[i].text);
        note(s, "warn", "%s: %s", gates[i].id, gates[i].text);
    }
    return 0;
}

static int read_version(struct session *s, struct err *err)
{
    char name[] = {'s', 'y', 's', 't', 'e', 'm', 'i', 'n', 'f', 'o', '_', s->slot, '\0'};
    uint8_t head[SYSTEMINFO_HEAD_BYTES];
    struct extent e;
    struct fw_version phone;
    struct err why = {0};
    if (gpt_lookup(&s->gpt, name, &e, &why) == 0) {
        int rc = read_small(s, e.start_bytes, head, sizeof(head), err);
        if (rc < 0)
            return rc;
        if (systeminfo_decode(span_of(head, sizeof(head)), &phone, &why) == 0) {
            snprintf(s->phone_version, sizeof(s->phone_version), "%s", phone.text);
            return check_gates(s, &phone, err);
        }
    }
    note(s, "warn", "%s: %s", name, why.text);
    return check_gates(s, NULL, err);
}

static bool in_plan(const struct session *s, const char *partition)
{
    size_t i = 0;
    while (i < s->plan->write_count && strcmp(s->plan->writes[i].partition, partition) != 0)
        i++;
    return i < s->plan->write_count;
}

/* A vendor's package renews slot a and of slot b a few partitions only. A phone that starts slot b would start a new
 * bootloader with an old system, and nothing here moves the active slot: that is LK's business. */
static int check_upgraded_slot(struct session *s, struct err *err)
{
    for (size_t i = 0; s->slot == 'b' && i < s->plan->write_count; i++) {
        const char *name = s->plan->writes[i].partition;
        size_t len = strlen(name);
        if (s->plan->writes[i].write_class != PLAN_COMMERCIAL || len < 3 ||
            strcmp(name + len - 2, "_a") != 0)
            continue;
        char other[RECIPE_NAME_MAX];
        snprintf(other, sizeof(other), "%.*s_b", (int)(len - 2), name);
        if (!in_plan(s, other))
            return fail(s, "E1", err, ERR_REFUSED,
                        "slot b of this phone is active, and the package has %s but no %s", name,
                        other);
    }
    return 0;
}

int action_inspect(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    int rc = read_slot(s, err);
    if (rc == 0)
        rc = check_upgraded_slot(s, err);
    if (rc == 0)
        rc = find_service_lk(s, err);
    if (rc == 0)
        rc = read_version(s, err);
    if (rc < 0)
        return rc;
    uint32_t battery_mv = 0;
    rc = da_get_battery_mv(&s->da, &battery_mv, err);
    if (rc == ERR_UNSUPPORTED)
        note(s, "warn", "the phone does not tell its battery voltage");
    else if (rc < 0)
        return rc;
    else if (battery_mv < GATE_BATTERY_LEAST_MV)
        return fail(s, "D13", err, ERR_REFUSED, "the battery has %u mV, at least %d are needed",
                    battery_mv, GATE_BATTERY_LEAST_MV);
    gate_see_inspection(s->gate);
    char slot[2] = {s->slot, '\0'};
    s->host.facts(s->host.arg, json_pack("{s:s, s:s, s:i}", "slot", slot, "version",
                                         s->phone_version, "battery_mv", (int)battery_mv));
    return 0;
}

/* ---- S7, S8, S18: writing ---------------------------------------------------------------------------------- */

int action_write(struct session *s, const struct recipe_step *step, struct err *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->plan->write_count; i++)
        if (write_applies(s, &s->plan->writes[i], step->id))
            total += session_padded(s, &s->plan->writes[i]);
    if (total == 0)
        return err_set(err, ERR_INTERNAL, "nothing to write in this step");
    progress_begin(s, total);
    for (size_t i = 0; i < s->plan->write_count; i++) {
        if (!write_applies(s, &s->plan->writes[i], step->id) || s->writes[i].verified)
            continue; /* verified before it is written: the survey of a later run has read it there */
        int rc = session_write(s, i, false, err);
        if (rc < 0 && s->failure[0])
            return rc;
        if (rc < 0)
            err_in(err, "write %s", s->plan->writes[i].partition);
        if (rc < 0)
            return rc == ERR_FORMAT ? failed(s, "B6", err)
                                    : rc; /* an image that is not what it says */
    }
    return 0;
}

/* ---- S9, S18v, S19: reading back ----------------------------------------------------------------------------- */

static int hash_sink(void *arg, const void *data, size_t len, struct err *err)
{
    (void)err;
    hasher_update(arg, data, len);
    return 0;
}

int session_read_hash(struct session *s, const char *partition, uint64_t length_bytes,
                      struct sha256 *out, struct err *err)
{
    AUTO(hasher_free) struct hasher *h = hasher_new();
    struct extent e;
    int rc = gpt_lookup(&s->gpt, partition, &e, err);
    if (rc == 0)
        rc = da_read(&s->da, XFLASH_USER, e.start_bytes, length_bytes, hash_sink, h, err);
    s->base_bytes += length_bytes;
    if (rc == 0)
        *out = hasher_finish(h);
    return rc;
}

static int verify_one(struct session *s, size_t index, struct err *err)
{
    const struct plan_write *w = &s->plan->writes[index];
    struct write_state *state = &s->writes[index];
    struct sha256 got;
    int rc = session_read_hash(s, w->partition, state->length_bytes, &got, err);
    if (rc < 0)
        return rc;
    state->verified = sha256_equal(&got, &state->flash);
    rc = session_extent(s, index, state->verified ? PHONE_VERIFIED : PHONE_DIFFERS, err);
    if (rc == 0 && !state->verified)
        rc = fail(s, w->write_class == PLAN_IDENTITY ? "E4" : "C8", err, ERR_VERIFY,
                  "%s reads back differently from what was written", w->partition);
    return rc;
}

int action_verify(struct session *s, const struct recipe_step *step, struct err *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->plan->write_count; i++)
        if (recipe_list_has(&step->of, s->plan->writes[i].step) && s->writes[i].written)
            total += s->writes[i].length_bytes;
    progress_begin(s, total);
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        if (!recipe_list_has(&step->of, w->step))
            continue;
        bool applies = write_applies(s, w, w->step);
        if (applies && !s->writes[i].written && !w->optional)
            return err_set(err, ERR_INTERNAL, "%s was not written", w->partition);
        if (!s->writes[i].written)
            continue;
        int rc = verify_one(s, i, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- S10 ------------------------------------------------------------------------------------------------------- */

int action_leave(struct session *s, const struct recipe_step *step, struct err *err)
{
    if (strcmp(step->target, "fastboot") != 0)
        return err_set(err, ERR_UNSUPPORTED, "target '%s'", step->target);
    const struct xflash_shutdown how = DA_SHUTDOWN_FASTBOOT;
    int rc = session_check_verified(s, true, err); /* what is torn does not boot */
    if (rc == 0)
        rc = da_shutdown(&s->da, &how, err);
    if (rc < 0)
        return rc;
    session_wait_gone(s);
    /* whoever missed the restart holds the keys of download mode, as the job asked for at its start */
    rc = session_attach(s, "fastboot brom", step->timeout_s ? step->timeout_s : 600, false, err);
    if (rc < 0)
        return failed(s, "D1", err);
    if (strcmp(s->mode, "brom") == 0) {
        s->begin_again = true;
        return fail(s, "D1", err, ERR_CONFLICT,
                    "the phone came in download mode instead of fastboot");
    }
    fb_init(&s->fb, &s->link);
    return 0;
}
