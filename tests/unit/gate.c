/* usb/recipe/gate: every way around the gate that we could think of. The functions that write are replaced by
 * counters here, so that "refused" means that not one of them was called. */
#include "tests/unit/rows.h"

#include <stdio.h>

#include "usb/base/mem.h"
#include "usb/proto/fb.h"
#include "usb/recipe/gate.h"
#include "usb/recipe/session.h"

static int written; /* calls that reached a writer */

int da_download(struct da *da, const char *name, uint64_t partition_bytes, uint64_t length_bytes,
                link_source_fn *source, void *arg, struct err *err)
{
    (void)da, (void)name, (void)partition_bytes, (void)length_bytes, (void)source, (void)arg,
        (void)err;
    written++;
    return 0;
}

static uint64_t phone_takes_bytes = UINT32_MAX;
static int fails_at;             /* 1: the first download over fastboot; 0: none */
static uint64_t before_bytes[8]; /* what the link said of each */
static uint8_t sent[8][4 * 4096];

int fb_max_download(struct fb *fb, uint64_t *out, struct err *err)
{
    (void)fb, (void)err;
    *out = phone_takes_bytes;
    return 0;
}

int fb_flash(struct fb *fb, const char *partition, uint64_t size_bytes, link_source_fn *source,
             void *arg, struct err *err)
{
    (void)partition;
    assert_true(size_bytes <= phone_takes_bytes);
    if (source) {
        assert_true(written < (int)ARRAY_LEN(sent) && size_bytes <= sizeof(sent[0]));
        before_bytes[written] = fb->link->before_bytes;
        assert_int_equal(source(arg, sent[written], (size_t)size_bytes, err), 0);
    }
    written++;
    return written == fails_at ? err_set(err, ERR_REFUSED, "flash write failure") : 0;
}

enum { NVRAM, LK, LOGO, ADDED };
enum { PARTITION_BYTES = 64 * 512, FIRST_LBA = 64 };
static const char chip_id[] = "00112233445566778899aabbccddeeff";
static const char serial[] = "PDA0123456789";

/* All that the gate asks for, in the order in which a session does it; a row leaves something out or bends it. */
struct bench {
    struct plan plan;
    struct gpt gpt;
    struct sha256 plan_sha256, manifest;
    struct session_permit permit;
    struct gate *gate;
};

struct row {
    const char *name;
    void (*bend)(struct bench *b);  /* before the permit is asked for */
    void (*later)(struct bench *b); /* after it */
    int write;
    uint64_t length_bytes; /* 0: the whole partition */
    bool fastboot, goes;
};

static void add_write(struct plan *p, const char *partition, enum plan_class class)
{
    struct plan_write *w = &p->writes[p->write_count++];
    *w = (struct plan_write){.write_class = class,
                             .offset_bytes = (FIRST_LBA)*512,
                             .partition_bytes = PARTITION_BYTES,
                             .size_bytes = PARTITION_BYTES};
    snprintf(w->partition, sizeof(w->partition), "%s", partition);
    for (size_t i = 0; i < p->layout_count; i++)
        if (strcmp(p->layout[i].name, partition) == 0)
            w->offset_bytes = p->layout[i].offset_bytes;
}

static void add_partition(struct bench *b, const char *name)
{
    size_t i = b->plan.layout_count++;
    struct plan_extent *e = &b->plan.layout[i];
    struct gpt_entry *g = &b->gpt.entries[b->gpt.count++];
    snprintf(e->name, sizeof(e->name), "%s", name);
    e->offset_bytes = (FIRST_LBA + i * 64) * 512;
    e->size_bytes = PARTITION_BYTES;
    snprintf(g->name, sizeof(g->name), "%s", name);
    g->first_lba = FIRST_LBA + i * 64;
    g->last_lba = g->first_lba + 63;
}

static struct bench *bench_new(void)
{
    struct bench *b = xcalloc(1, sizeof(*b));
    static const char *const names[] = {"nvram", "lk_a", "logo", "userdata"};
    b->gpt.sector_bytes = 512;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add_partition(b, names[i]);
    add_write(&b->plan, "nvram", PLAN_IDENTITY);
    add_write(&b->plan, "lk_a", PLAN_SERVICE_LK);
    add_write(&b->plan, "logo", PLAN_COMMERCIAL);
    snprintf(b->plan.serial, sizeof(b->plan.serial), "%s", serial);
    b->plan_sha256.bytes[0] = 1;
    b->manifest.bytes[0] = 2;
    b->permit =
        (struct session_permit){.backup_id = 5, .manifest = b->manifest, .plan = b->plan_sha256};
    snprintf(b->permit.chip_id, sizeof(b->permit.chip_id), "%s", chip_id);
    b->gate = gate_new(&b->plan, &b->plan_sha256);
    return b;
}

static void bench_free(struct bench **b)
{
    gate_free(&(*b)->gate);
    free(*b);
}

/* ---- what the rows bend --------------------------------------------------------------------------- */

static void userdata_planned(struct bench *b)
{
    add_write(&b->plan, "userdata", PLAN_COMMERCIAL);
}
static void package_nvram_planned(struct bench *b)
{
    add_write(&b->plan, "nvram", PLAN_COMMERCIAL);
}
static void backup_logo_planned(struct bench *b)
{
    add_write(&b->plan, "logo", PLAN_IDENTITY);
}
static void elsewhere_planned(struct bench *b)
{
    add_write(&b->plan, "logo", PLAN_COMMERCIAL);
    b->plan.writes[ADDED].offset_bytes += 512;
}
static void other_plan(struct bench *b)
{
    b->permit.plan.bytes[31] ^= 1;
}
static void other_manifest(struct bench *b)
{
    b->permit.manifest.bytes[31] ^= 1;
}
static void other_chip(struct bench *b)
{
    b->permit.chip_id[0] = 'f';
}
static void longer_chip(struct bench *b)
{
    b->permit.chip_id[32] = '0';
}
static void no_chip(struct bench *b)
{
    b->permit.chip_id[0] = '\0';
}
static void incomplete(struct bench *b)
{
    gate_see_backup(b->gate, &b->manifest, false);
}
static void not_inspected(struct bench *b) /* the row leaves the inspection out */
{
    (void)b;
}
static void inspected_without_a_phone(struct bench *b)
{
    gate_attached(b->gate);
    gate_see_inspection(b->gate);
    assert_int_equal(gate_see_chip(b->gate, chip_id, NULL), 0);
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), 0);
}
static void attached_before_permit(struct bench *b)
{
    gate_attached(b->gate);
}
static void attached(struct bench *b)
{
    gate_attached(b->gate);
}
static void attached_and_seen(struct bench *b)
{
    gate_attached(b->gate);
    assert_int_equal(gate_see_chip(b->gate, chip_id, NULL), 0);
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), 0);
}
static void layout_not_seen(struct bench *b)
{
    gate_attached(b->gate);
    assert_int_equal(gate_see_chip(b->gate, chip_id, NULL), 0);
}
static void chip_not_seen(struct bench *b)
{
    gate_attached(b->gate);
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), 0);
}
static void another_phone_came(struct bench *b)
{
    gate_attached(b->gate);
    assert_int_equal(gate_see_chip(b->gate, "ff112233445566778899aabbccddeeff", NULL),
                     ERR_MISMATCH);
    gate_attached(b->gate); /* and went again: the gate stays shut */
    assert_int_equal(gate_see_chip(b->gate, chip_id, NULL), ERR_MISMATCH);
    (void)gate_see_layout(b->gate, &b->gpt, NULL);
    assert_true(gate_see_fastboot_serial(b->gate, serial, NULL) < 0);
}
static void new_backup_without_permit(struct bench *b)
{
    gate_see_backup(b->gate, &b->manifest, true);
}
static void in_fastboot(struct bench *b)
{
    gate_attached(b->gate);
    assert_int_equal(gate_see_fastboot_serial(b->gate, serial, NULL), 0);
}
static void other_serial_in_fastboot(struct bench *b)
{
    gate_attached(b->gate);
    assert_int_equal(gate_see_fastboot_serial(b->gate, "PDA0123456780", NULL), ERR_MISMATCH);
    assert_true(gate_see_fastboot_serial(b->gate, serial, NULL) < 0);
}
static void fastboot_then_replugged(struct bench *b)
{
    in_fastboot(b);
    gate_attached(b->gate);
}

static const struct row rows[] = {
    {"everything as it should be", NULL, NULL, NVRAM, 0, false, true},
    {"service LK", NULL, NULL, LK, 0, false, true},
    {"file of the package, shorter than its partition", NULL, NULL, LOGO, 512, false, true},
    {"plugged in again and looked at again", NULL, attached_and_seen, NVRAM, 0, false, true},
    {"in fastboot on the same port", NULL, in_fastboot, NVRAM, 0, true, true},
    {"permit for another plan", other_plan, NULL, NVRAM, 0, false, false},
    {"permit for another backup", other_manifest, NULL, NVRAM, 0, false, false},
    {"permit for another chip", other_chip, NULL, NVRAM, 0, false, false},
    {"permit for a chip whose id begins the same", longer_chip, NULL, NVRAM, 0, false, false},
    {"permit without a chip", no_chip, NULL, NVRAM, 0, false, false},
    {"backup that lacks a member", incomplete, NULL, NVRAM, 0, false, false},
    {"permit came after the phone was replaced", attached_before_permit, NULL, NVRAM, 0, false,
     false},
    {"gates not looked at", not_inspected, NULL, NVRAM, 0, false, false},
    {"gates of a phone that did not show its chip", NULL, inspected_without_a_phone, NVRAM, 0,
     false, false},
    {"plugged in again, not looked at", NULL, attached, NVRAM, 0, false, false},
    {"chip read again, table not", NULL, layout_not_seen, NVRAM, 0, false, false},
    {"table read again, chip not", NULL, chip_not_seen, NVRAM, 0, false, false},
    {"another phone came in between", NULL, another_phone_came, NVRAM, 0, false, false},
    {"the same in fastboot", NULL, another_phone_came, NVRAM, 0, true, false},
    {"a new backup, the permit is for the one before", NULL, new_backup_without_permit, NVRAM, 0,
     false, false},
    {"identity image shorter than its partition", NULL, NULL, NVRAM, PARTITION_BYTES - 512, false,
     false},
    {"longer than the partition", NULL, NULL, LOGO, PARTITION_BYTES + 512, false, false},
    {"owner's data from a package", userdata_planned, NULL, ADDED, 0, false, false},
    {"identity from a package", package_nvram_planned, NULL, ADDED, 0, false, false},
    {"firmware from a backup", backup_logo_planned, NULL, ADDED, 0, false, false},
    {"extent that the layout does not have", elsewhere_planned, NULL, ADDED, 0, false, false},
    {"a good write of a plan that also holds a bad one", elsewhere_planned, NULL, NVRAM, 0, false,
     false},
    {"fastboot write while the agent is running", NULL, NULL, NVRAM, 0, true, false},
    {"agent write while in fastboot", NULL, in_fastboot, NVRAM, 0, false, false},
    {"other serial in fastboot", NULL, other_serial_in_fastboot, NVRAM, 0, true, false},
    {"fastboot phone plugged in again", NULL, fastboot_then_replugged, NVRAM, 0, true, false},
};

static int try_write(struct bench *b, const struct row *row)
{
    const struct plan_write *w = &b->plan.writes[row->write];
    uint64_t length = row->length_bytes ? row->length_bytes : PARTITION_BYTES;
    return row->fastboot ? gate_flash(b->gate, w, NULL, length, NULL, NULL, NULL)
                         : gate_download(b->gate, w, NULL, length, NULL, NULL, NULL);
}

static void gate_row(void **state)
{
    const struct row *row = ROW(state);
    AUTO(bench_free) struct bench *b = bench_new();
    written = 0;
    gate_attached(b->gate);
    assert_int_equal(gate_see_chip(b->gate, chip_id, NULL), 0);
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), 0);
    gate_see_backup(b->gate, &b->manifest, true);
    if (row->bend != not_inspected)
        gate_see_inspection(b->gate);
    assert_int_equal(try_write(b, row), ERR_REFUSED); /* no permit yet: nothing goes */
    if (row->bend)
        row->bend(b);
    bool permitted = !row->bend || row->bend == not_inspected;
    assert_int_equal(gate_permit(b->gate, &b->permit, NULL) == 0, permitted);
    if (row->later)
        row->later(b);
    assert_int_equal(try_write(b, row), row->goes ? 0 : ERR_REFUSED);
    assert_int_equal(written, row->goes ? 1 : 0);
}

static void a_write_that_looks_like_one_of_the_plan(void **state)
{
    (void)state;
    AUTO(bench_free) struct bench *b = bench_new();
    written = 0;
    assert_int_equal(gate_see_chip(b->gate, chip_id, NULL), 0);
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), 0);
    gate_see_backup(b->gate, &b->manifest, true);
    gate_see_inspection(b->gate);
    assert_int_equal(gate_permit(b->gate, &b->permit, NULL), 0);
    struct plan_write copy = b->plan.writes[NVRAM];
    assert_int_equal(gate_download(b->gate, &copy, NULL, PARTITION_BYTES, NULL, NULL, NULL),
                     ERR_REFUSED);
    assert_int_equal(
        gate_download(b->gate, &b->plan.writes[b->plan.write_count], NULL, 512, NULL, NULL, NULL),
        ERR_REFUSED);
    assert_int_equal(written, 0);
}

/* A phone that came in fastboot, with the right serial (serials can be written), but never showed its chip. */
static void fastboot_alone_proves_nothing(void **state)
{
    (void)state;
    AUTO(bench_free) struct bench *b = bench_new();
    gate_attached(b->gate);
    assert_int_equal(gate_see_fastboot_serial(b->gate, serial, NULL), ERR_REFUSED);
    assert_int_equal(
        gate_flash(b->gate, &b->plan.writes[NVRAM], NULL, PARTITION_BYTES, NULL, NULL, NULL),
        ERR_REFUSED);
}

static void layouts_that_differ(void **state)
{
    (void)state;
    AUTO(bench_free) struct bench *b = bench_new();
    b->gpt.entries[2].last_lba++;
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), ERR_MISMATCH);
    b->gpt.entries[2].last_lba--;
    b->gpt.entries[1].first_lba++;
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), ERR_MISMATCH);
    b->gpt.entries[1].first_lba--;
    b->gpt.count--;
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), ERR_MISMATCH);
}

static int next_word(void *arg, void *dst, size_t len, struct err *err)
{
    (void)err;
    uint8_t *count = arg;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)dst)[i] = (uint8_t)((*count)++ / 4);
    return 0;
}

/* What the phone does not take at once: pieces, and after one that failed no other. */
static void more_than_the_phone_takes(void **state)
{
    (void)state;
    AUTO(bench_free) struct bench *b = bench_new();
    struct link link = {0};
    struct fb fb = {.link = &link};
    uint8_t count = 0;
    assert_int_equal(gate_see_chip(b->gate, chip_id, NULL), 0);
    assert_int_equal(gate_see_layout(b->gate, &b->gpt, NULL), 0);
    gate_see_backup(b->gate, &b->manifest, true);
    gate_see_inspection(b->gate);
    assert_int_equal(gate_permit(b->gate, &b->permit, NULL), 0);
    in_fastboot(b);
    const struct plan_write *w = &b->plan.writes[NVRAM];
    phone_takes_bytes = sizeof(sent[0]);
    written = 0;
    assert_int_equal(gate_flash(b->gate, w, &fb, PARTITION_BYTES, next_word, &count, NULL), 0);
    assert_int_equal(written, 3); /* eight blocks, three a piece */
    for (int i = 0; i < written; i++) {
        assert_int_equal(before_bytes[i], i * 3 * 4096);
        assert_memory_equal(sent[i], "\x3a\xff\x26\xed", 4);
    }
    fails_at = 2;
    written = 0;
    assert_int_equal(gate_flash(b->gate, w, &fb, PARTITION_BYTES, next_word, &count, NULL),
                     ERR_REFUSED);
    assert_int_equal(written, 2);
    assert_int_equal(link.before_bytes, 0);
    fails_at = 0;
    phone_takes_bytes = 8192; /* less than three blocks */
    written = 0;
    assert_int_equal(gate_flash(b->gate, w, &fb, PARTITION_BYTES, next_word, &count, NULL),
                     ERR_INPUT);
    assert_int_equal(written, 0);
    phone_takes_bytes = UINT32_MAX;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_than_the_phone_takes),
        cmocka_unit_test(a_write_that_looks_like_one_of_the_plan),
        cmocka_unit_test(fastboot_alone_proves_nothing),
        cmocka_unit_test(layouts_that_differ),
    };
    int failed = RUN_ROWS(gate_row, rows);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
