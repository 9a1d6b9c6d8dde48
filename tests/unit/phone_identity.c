/* Factory, identity and Android of the emulated phone: what is on the flash decides what it
 * reports. */
#include "phone_fake.h"

#include <jansson.h>

#include "tests/phone/firmware.h"
#include "tests/phone/identity.h"
#include "tests/phone/preloader_image.h"
#include "usb/base/buf.h"
#include "usb/base/hash.h"
#include "usb/format/emi.h"
#include "usb/format/serial.h"

/* ---- partition tables
 * ---------------------------------------------------------------------------------- */

/* Recorded with sgdisk 1.0.9. */
struct table_row {
    const char *name;
    enum factory_profile profile;
    const char *head, *tail;
};
static struct table_row tables[] = {
    {"mini", PROFILE_MINI, "8af9a40ac47436b170fed3e0ae68dabc6323d18d4315bfcd2d07938758b57c92",
     "4100163975b1faf4d72b8ab4c86b1c38d94f7eee8ee630b6015a773451b9db5d"},
    {"full", PROFILE_FULL, "411905da9edaa186df12c19b2cefb3bff712b23c4875e4ef1222eac143859803",
     "73a22defdd4557b3d4e5a58b2d1ca3297c101e28386f7be71e1796bb40af02ae"},
};

static void table_is_as_recorded(void **state)
{
    const struct table_row *row = ROW(state);
    uint8_t head[GPT_HEAD_BYTES], tail[GPT_TAIL_BYTES];
    char hex[SHA256_HEX_BYTES];
    layout_gpt_head(layout_of(row->profile), head);
    layout_gpt_tail(layout_of(row->profile), tail);
    struct sha256 digest = sha256_of(span_of(head, sizeof(head)));
    sha256_hex(&digest, hex);
    assert_string_equal(hex, row->head);
    digest = sha256_of(span_of(tail, sizeof(tail)));
    sha256_hex(&digest, hex);
    assert_string_equal(hex, row->tail);
}

static void tiny_is_small(void **state)
{
    (void)state;
    static const char *const names[] = {"nvram",    "nvdata", "nvcfg",       "proinfo", "protect1",
                                        "protect2", "elabel", "persist",     "seccfg",  "para",
                                        "lk_a",     "lk_b",   "systeminfo_a"};
    const struct layout *l = layout_of(PROFILE_TINY);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_true(layout_find(l, names[i])->size_bytes <= 256 * 1024);
    for (size_t i = 1; i < LAYOUT_PARTITIONS; i++)
        assert_true(l->parts[i].start_bytes ==
                    l->parts[i - 1].start_bytes + l->parts[i - 1].size_bytes);
    assert_true(l->parts[56].start_bytes + l->parts[56].size_bytes ==
                l->user_bytes - GPT_TAIL_BYTES);
}

/* ---- labels and NV
 * --------------------------------------------------------------------------------------- */

static void labels_are_valid_and_different(void **state)
{
    (void)state;
    struct factory_phone phones[32] = {0};
    for (unsigned i = 0; i < 32; i++) {
        struct serial_check check;
        identity_derive(7, i + 1, &phones[i]);
        serial_check(phones[i].label.serial, "PDA", &check);
        assert_int_equal(check.verdict, SERIAL_VALID);
        for (int k = 0; k < 2; k++)
            assert_int_equal(imei_check(phones[i].label.imei[k], NULL, 0), IMEI_VALID);
        struct factory_phone other = phones[i];
        identity_tac_set(&other, "35123406");
        assert_memory_equal(other.label.imei[1], "35123406", 8);
        assert_memory_equal(other.label.imei[1] + 8, phones[i].label.imei[1] + 8, 6);
        assert_int_equal(imei_check(other.label.imei[1], NULL, 0), IMEI_VALID);
        assert_string_not_equal(phones[i].label.imei[0], phones[i].label.imei[1]);
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(phones[i].label.serial, phones[j].label.serial);
            assert_string_not_equal(phones[i].label.imei[0], phones[j].label.imei[0]);
            assert_string_not_equal(phones[i].label.imei[0], phones[j].label.imei[1]);
            assert_string_not_equal(phones[i].label.wlan_mac, phones[j].label.wlan_mac);
            assert_memory_not_equal(&phones[i].chip, &phones[j].chip, sizeof(phones[i].chip));
        }
    }
}

static void container_make(struct factory_phone *phone, struct buf *out)
{
    *phone = (struct factory_phone){.profile = PROFILE_TINY};
    identity_derive(7, 1, phone);
    buf_init(out, 1 << 20);
    assert_int_equal(identity_build(phone, "nvram", out, NULL), 0);
}

static void container_keeps_the_numbers_hidden(void **state)
{
    (void)state;
    struct factory_phone phone;
    struct nv_values nv;
    struct sha256 stamp;
    AUTO(buf_deinit) struct buf c;
    container_make(&phone, &c);
    assert_true(nvram_read(buf_span(&c), &nv, &stamp));
    assert_true(nv.imei_known && nv.wifi_known && nv.bt_known);
    assert_string_equal(nv.imei[0], phone.label.imei[0]);
    assert_string_equal(nv.imei[1], phone.label.imei[1]);
    assert_null(memmem(c.data, c.len, phone.label.imei[0], 15));
    assert_null(memmem(c.data, c.len, nv.wlan_mac, 6));
    /* what plausibility checks look for */
    assert_non_null(memmem(c.data, c.len, "NVD_IMEI", 8));
    assert_non_null(memmem(c.data, c.len, "APRDEB/WIFI", 11));
    assert_non_null(memmem(c.data, c.len, "BT_Addr", 7));
    assert_int_equal(nvram_container_bytes(buf_span(&c), 256 * 1024), c.len);
    assert_int_equal(nvram_container_bytes(buf_span(&c), c.len - 1), 0);
}

static void container_notices_every_flipped_byte(void **state)
{
    (void)state;
    struct factory_phone phone;
    struct nv_values nv;
    struct sha256 stamp;
    AUTO(buf_deinit) struct buf c;
    container_make(&phone, &c);
    for (size_t at = 0; at < c.len; at += at < 256 ? 1 : 1021) {
        c.data[at] ^= 0x10;
        assert_false(nvram_read(buf_span(&c), &nv, &stamp));
        c.data[at] ^= 0x10;
    }
}

static void seals_are_bound_to_the_chip(void **state)
{
    (void)state;
    struct factory_phone mine = {.profile = PROFILE_TINY}, donor = {.profile = PROFILE_TINY};
    AUTO(buf_deinit) struct buf protect;
    uint8_t seccfg[SECCFG_BYTES];
    buf_init(&protect, 1 << 20);
    identity_derive(7, 1, &mine);
    identity_derive(7, 2, &donor);
    assert_int_equal(identity_build(&donor, "protect1", &protect, NULL), 0);
    assert_true(protect_valid(buf_span(&protect), &donor.chip));
    assert_false(protect_valid(buf_span(&protect), &mine.chip));
    seccfg_encode(&donor.chip, SECCFG_UNLOCKED, seccfg);
    assert_int_equal(seccfg_lock_state(span_of(seccfg, sizeof(seccfg)), &donor.chip),
                     SECCFG_UNLOCKED);
    assert_int_equal(seccfg_lock_state(span_of(seccfg, sizeof(seccfg)), &mine.chip),
                     SECCFG_DEFAULT);
}

struct serial_row {
    const char *name, *proinfo, *want;
};
static struct serial_row serials[] = {
    {"own", "PDAGATEST0000001", "PDAGATEST0000001"},
    {"blank", "", IDENTITY_SERIAL_LOST},
    {"erased flash", "\xff\xff\xff\xff", IDENTITY_SERIAL_LOST},
    {"stops at a blank", "PDA GATEST", "PDA"},
    {"nineteen characters at most", "PDAGATEST0000001234567890", "PDAGATEST0000001234"},
};

static void serial_is_read_as_lk_reads_it(void **state)
{
    const struct serial_row *row = ROW(state);
    uint8_t head[64] = {0};
    char serial[IDENTITY_SERIAL_MAX + 1];
    memcpy(head, row->proinfo, strlen(row->proinfo));
    proinfo_serial_read(span_of(head, sizeof(head)), serial);
    assert_string_equal(serial, row->want);
}

/* ---- preloader
 * ------------------------------------------------------------------------------------------- */

static void preloader_boots_until_a_byte_is_wrong(void **state)
{
    (void)state;
    struct firmware *f = NULL;
    struct span emi;
    struct emi_info info;
    assert_int_equal(firmware_new(PROFILE_TINY, FACTORY_VERSION, &f, NULL), 0);
    uint8_t *area = xcalloc(1, 0x40000);
    preloader_boot_header((uint32_t)f->preloader.len, area);
    memcpy(area + BOOT_HEADER_BYTES, f->preloader.data, f->preloader.len);
    assert_true(preloader_bootable(span_of(area, 0x40000)));
    for (size_t at = 0; at < BOOT_HEADER_BYTES + f->preloader.len; at += 997) {
        area[at] ^= 1;
        assert_false(preloader_bootable(span_of(area, 0x40000)));
        area[at] ^= 1;
    }
    /* the station's reader finds the DRAM settings in it */
    assert_int_equal(emi_cut(buf_span(&f->preloader), &emi, NULL), 0);
    assert_int_equal(emi.len, 2512);
    assert_int_equal(emi_decode(emi, &info, NULL), 0);
    assert_int_equal(info.entry_count, 15);
    struct factory_phone phone = {0};
    identity_derive(7, 1, &phone);
    assert_non_null(memmem(emi.data, emi.len, phone.chip.emmc_cid, 9));
    free_ptr(&area);
    firmware_free(&f);
}

/* ---- what a booted phone reports
 * ------------------------------------------------------------------------- */

static struct board *phone(void)
{
    static const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = 'a'};
    return fake_new(&order);
}

static json_t *boot(struct board *b)
{
    b->powerless = false;
    assert_int_equal(lk_run(b), NEXT_ANDROID);
    android_run(b);
    assert_non_null(b->screen);
    json_t *screen = json_loads(b->screen, 0, NULL);
    assert_non_null(screen);
    return screen;
}

static const char *text(json_t *screen, const char *key)
{
    const char *value = json_string_value(json_object_get(screen, key));
    return value ? value : "";
}

static void assert_own_numbers(struct board *b, json_t *screen)
{
    json_t *imeis = json_object_get(screen, "imeis");
    assert_string_equal(text(screen, "state"), "android");
    assert_string_equal(text(screen, "serial"), b->phone.label.serial);
    assert_int_equal(json_array_size(imeis), 2);
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(json_string_value(json_array_get(imeis, i)), b->phone.label.imei[i]);
    assert_string_equal(text(screen, "wlan_mac"), b->phone.label.wlan_mac);
    assert_string_equal(text(screen, "bt_mac"), b->phone.label.bt_mac);
    assert_string_equal(text(screen, "baseband"), "MOLY.LR12A.R2.MP.V94.3");
    assert_true(json_is_false(json_object_get(screen, "wifi_warning")));
    assert_true(json_is_true(json_object_get(screen, "service")));
}

static struct sha256 partition_hash(struct board *b, const char *name)
{
    const struct partition *p = fake_partition(b, name);
    uint8_t *all = xcalloc(1, p->size_bytes);
    board_flash_read(b, AREA_USER, p->start_bytes, all, p->size_bytes);
    struct sha256 digest = sha256_of(span_of(all, p->size_bytes));
    free_ptr(&all);
    return digest;
}

static void good_phone_reports_its_numbers(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = phone();
    struct sha256 before = partition_hash(b, "nvdata");
    json_t *screen = boot(b);
    assert_own_numbers(b, screen);
    struct sha256 after = partition_hash(b, "nvdata");
    assert_true(sha256_equal(&before, &after)); /* nothing to rebuild */
    assert_int_equal(b->device_desc[8] | b->device_desc[9] << 8, 0x2E04);
    assert_string_equal(b->serial_string, b->phone.label.serial);
    json_decref(screen);
}

static void wiped_nvdata_is_rebuilt_from_nvram(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = phone();
    struct sha256 before = partition_hash(b, "nvdata");
    fake_wipe(b, "nvdata");
    json_t *screen = boot(b);
    assert_own_numbers(b, screen);
    struct sha256 after = partition_hash(b, "nvdata");
    assert_true(sha256_equal(&before, &after));
    json_decref(screen);
}

static void lost_phone_has_no_baseband(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = phone();
    assert_int_equal(factory_lose_identity(b->dir, LOSS_FORMAT_DOWNLOAD, NULL), 0);
    json_t *screen = boot(b);
    assert_string_equal(text(screen, "serial"), IDENTITY_SERIAL_LOST);
    assert_int_equal(json_array_size(json_object_get(screen, "imeis")), 0);
    assert_true(json_is_null(json_object_get(screen, "baseband")));
    assert_true(json_is_true(json_object_get(screen, "wifi_warning")));
    assert_true(json_is_false(json_object_get(screen, "service")));
    json_t *again = boot(b); /* a made-up address changes at each start */
    assert_string_not_equal(text(screen, "wlan_mac"), text(again, "wlan_mac"));
    json_decref(screen);
    json_decref(again);
}

/* The six partitions of `from`'s factory state written to `b`, as a restore does. */
static void restore(struct board *b, const struct factory_phone *from)
{
    static const char *const names[] = {"nvram",    "proinfo",  "nvcfg",
                                        "protect1", "protect2", "elabel"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTO(buf_deinit) struct buf content;
        buf_init(&content, 1 << 20);
        assert_int_equal(identity_build(from, names[i], &content, NULL), 0);
        fake_wipe(b, names[i]);
        fake_put(b, names[i], 0, content.data, content.len);
    }
}

static void restored_phone_is_itself_again(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = phone();
    struct sha256 factory = partition_hash(b, "nvdata");
    assert_int_equal(factory_lose_identity(b->dir, LOSS_FORMAT_DOWNLOAD, NULL), 0);
    json_t *lost = boot(b); /* leaves defaults in nvdata */
    struct sha256 defaults = partition_hash(b, "nvdata");
    assert_false(sha256_equal(&factory, &defaults));
    restore(b, &b->phone);
    json_t *screen = boot(b);
    assert_own_numbers(b, screen);
    struct sha256 rebuilt = partition_hash(b, "nvdata");
    assert_true(sha256_equal(&factory, &rebuilt));
    json_decref(lost);
    json_decref(screen);
}

static void donor_set_shows(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = phone();
    struct factory_phone donor = {.profile = PROFILE_TINY};
    identity_derive(1, 2, &donor);
    restore(b, &donor);
    json_t *screen = boot(b);
    assert_string_equal(text(screen, "serial"), donor.label.serial);
    assert_string_equal(json_string_value(json_array_get(json_object_get(screen, "imeis"), 0)),
                        donor.label.imei[0]);
    assert_true(
        json_is_false(json_object_get(screen, "service"))); /* SIM lock is bound to the chip */
    json_decref(screen);
}

static void torn_nvram_counts_as_none(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = phone();
    fake_wipe(b, "nvdata");
    fake_put(b, "nvram", NVRAM_HEADER_BYTES + 5000, "torn", 4);
    json_t *screen = boot(b);
    assert_true(json_is_null(json_object_get(screen, "baseband")));
    json_decref(screen);
}

static void blank_nvcfg_stops_the_modem(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = phone();
    fake_wipe(b, "nvcfg");
    json_t *screen = boot(b);
    assert_true(json_is_null(json_object_get(screen, "baseband")));
    assert_string_equal(text(screen, "wlan_mac"), b->phone.label.wlan_mac);
    json_decref(screen);
}

static void identity_only_loss_leaves_the_rest(void **state)
{
    (void)state;
    const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = 'b'};
    AUTO(fake_free) struct board *b = fake_new(&order);
    struct sha256 para = partition_hash(b, "para"), system = partition_hash(b, "system_b");
    assert_int_equal(factory_lose_identity(b->dir, LOSS_IDENTITY_ONLY, NULL), 0);
    struct sha256 para_after = partition_hash(b, "para"),
                  system_after = partition_hash(b, "system_b");
    assert_true(sha256_equal(&para, &para_after));
    assert_true(sha256_equal(&system, &system_after));
    json_t *screen = boot(b);
    assert_true(json_is_null(json_object_get(screen, "baseband")));
    json_decref(screen);
}

static void factory_makes_a_phone_once(void **state)
{
    (void)state;
    const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = 'a'};
    AUTO(fake_free) struct board *b = fake_new(&order);
    assert_int_equal(factory_make_phone(b->dir, &order, NULL), ERR_CONFLICT);
    struct factory_phone none;
    assert_int_equal(factory_load_phone("/nonexistent", &none, NULL), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_is_small),
        cmocka_unit_test(labels_are_valid_and_different),
        cmocka_unit_test(container_keeps_the_numbers_hidden),
        cmocka_unit_test(container_notices_every_flipped_byte),
        cmocka_unit_test(seals_are_bound_to_the_chip),
        cmocka_unit_test(preloader_boots_until_a_byte_is_wrong),
        cmocka_unit_test(good_phone_reports_its_numbers),
        cmocka_unit_test(wiped_nvdata_is_rebuilt_from_nvram),
        cmocka_unit_test(lost_phone_has_no_baseband),
        cmocka_unit_test(restored_phone_is_itself_again),
        cmocka_unit_test(donor_set_shows),
        cmocka_unit_test(torn_nvram_counts_as_none),
        cmocka_unit_test(blank_nvcfg_stops_the_modem),
        cmocka_unit_test(identity_only_loss_leaves_the_rest),
        cmocka_unit_test(factory_makes_a_phone_once),
    };
    return RUN_ROWS(table_is_as_recorded, tables) +
           RUN_ROWS(serial_is_read_as_lk_reads_it, serials) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
