/* Target configurations: secure boot, serial link authentication and agent authentication (SBC, SLA, DAA) in all
 * combinations, from the boot ROM and from the preloader; what the host asks its owner for, what opens the phone, and
 * what it refuses. */
#include <stdio.h>

#include "tests/phone/synthetic_da.h"
#include "tests/unit/phone_bench.h"
#include "tests/unit/rows.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum { SBC = BROM_TARGET_SBC, SLA = BROM_TARGET_SLA, DAA = BROM_TARGET_DAA };

static const struct target_row {
    const char *name;
    uint32_t config;
    /* of the boot ROM: without the owner's file; with it; with it, but an agent whose signature is wrong */
    int alone, owner, unsigned_agent;
    int preloader_unsigned; /* of the preloader, which asks for no file */
} target_rows[] = {
    {"open", 0, 0, 0, 0, 0},
    {"SBC", SBC, 0, 0, 0, 0},
    {"SLA", SLA, ERR_AUTH_NEEDED, 0, 0, 0},
    {"SBC and SLA", SBC | SLA, ERR_AUTH_NEEDED, 0, 0, 0},
    {"DAA", DAA, ERR_AUTH_NEEDED, 0, ERR_REFUSED, ERR_REFUSED},
    {"SBC and DAA", SBC | DAA, ERR_AUTH_NEEDED, 0, ERR_REFUSED, ERR_REFUSED},
    {"SLA and DAA", SLA | DAA, ERR_AUTH_NEEDED, 0, ERR_REFUSED, ERR_REFUSED},
    {"SBC, SLA and DAA", SBC | SLA | DAA, ERR_AUTH_NEEDED, 0, ERR_REFUSED, ERR_REFUSED},
};

static struct phone_session session;
static struct buf auth;

static void identify(enum brom_stage stage, uint32_t config, struct brom_info *info)
{
    struct err err = {0};
    struct board_settings *set = board_settings(phone_bench.phone);
    set->target_config = config;
    /* windows are not what is tried here, and this machine may be slow */
    set->brom_window_ms = set->preloader_window_ms = set->preloader_configure_ms = 300000;
    clock_scale_set(0.1); /* a phone takes its time to appear */
    phone_plug(phone_bench.phone, stage == BROM_STAGE_BROM);
    phone_take(&session, stage == BROM_STAGE_BROM ? BROM_USB_PID_BROM : BROM_USB_PID_PRELOADER);
    clock_scale_set(1);
    phone_ok(brom_start(&session.link, stage, session.id.comm_interface, &err), &err);
    phone_ok(brom_identify(&session.link, info, &err), &err);
    assert_int_equal(info->stage, stage);
    assert_int_equal(info->target_config, config);
}

static int put_away(void **state)
{
    (void)state;
    clock_scale_set(1);
    da_deinit(&session.da);
    transport_close(&session.transport);
    phone_put_away(phone_bench.phone);
    return 0;
}

/* From the jump to a table that was read, and off. */
static void run_agent(void)
{
    AUTO(free_ptr) struct gpt *table = xcalloc(1, sizeof(*table));
    phone_enter_da1(&session);
    phone_bring_up(&session);
    phone_read_table(&session, table);
    phone_finish(&session, &DA_SHUTDOWN_OFF);
}

static int send_agent(bool signature_good)
{
    struct err err = {0};
    uint8_t *last = &phone_bench.da1.data[phone_bench.da1.len - 1];
    *last ^= signature_good ? 0 : 1;
    int rc = phone_send_da1(&session, &err);
    *last ^= signature_good ? 0 : 1;
    return rc;
}

static void boot_rom(void **state)
{
    const struct target_row *row = ROW(state);
    struct err err = {0};
    struct brom_info info;
    identify(BROM_STAGE_BROM, row->config, &info);
    assert_int_equal(brom_authenticate(&session.link, &info, span_of(NULL, 0), &err), row->alone);
    assert_int_equal(brom_authenticate(&session.link, &info, buf_span(&auth), &err), row->owner);
    assert_int_equal(send_agent(true), 0);
    run_agent();
    phone_expect_no_violations(phone_bench.phone);
}

static void boot_rom_unsigned(void **state)
{
    const struct target_row *row = ROW(state);
    struct err err = {0};
    struct brom_info info;
    identify(BROM_STAGE_BROM, row->config, &info);
    assert_int_equal(brom_authenticate(&session.link, &info, buf_span(&auth), &err), row->owner);
    assert_int_equal(send_agent(false), row->unsigned_agent);
}

static void preloader(void **state)
{
    const struct target_row *row = ROW(state);
    struct err err = {0};
    struct brom_info info;
    identify(BROM_STAGE_PRELOADER, row->config, &info);
    assert_int_equal(brom_authenticate(&session.link, &info, span_of(NULL, 0), &err), 0);
    assert_int_equal(send_agent(true), 0);
    run_agent();
    phone_expect_no_violations(phone_bench.phone);
}

static void preloader_unsigned(void **state)
{
    const struct target_row *row = ROW(state);
    struct brom_info info;
    identify(BROM_STAGE_PRELOADER, row->config, &info);
    assert_int_equal(send_agent(false), row->preloader_unsigned);
}

/* A file of somebody else does not open the phone, and the agent stays out. */
static void foreign_file(void **state)
{
    struct err err = {0};
    struct brom_info info;
    (void)state;
    identify(BROM_STAGE_BROM, SLA, &info);
    assert_int_equal(brom_authenticate(&session.link, &info, span_of("not the owner's", 15), &err),
                     ERR_AUTH_NEEDED);
}

/* An agent of more than 0x40000 bytes is too long for a preloader with DAA, and only there. */
static void long_agent(void **state)
{
    struct err err = {0};
    struct brom_info info;
    (void)state;
    AUTO(free_ptr) uint8_t *agent = xcalloc(1, 0x40200);
    synthetic_sign(span_of(agent, 0x40100), agent + 0x40100, 0x100);
    identify(BROM_STAGE_PRELOADER, DAA, &info);
    assert_int_equal(brom_send_da(&session.link, 0x200000, span_of(agent, 0x40200), 0x100, &err),
                     ERR_REFUSED);
    put_away(state);
    identify(BROM_STAGE_PRELOADER, SBC, &info);
    phone_ok(brom_send_da(&session.link, 0x200000, span_of(agent, 0x40200), 0x100, &err), &err);
}

static int up(void **state)
{
    (void)state;
    buf_init(&auth, 4096);
    synthetic_auth_put(&auth);
    return phone_bench_up(PROFILE_TINY);
}

static int down(void **state)
{
    (void)state;
    buf_deinit(&auth);
    return phone_bench_down();
}

int main(void)
{
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } ways[] = {{"boot ROM", boot_rom},
                {"boot ROM, wrong signature", boot_rom_unsigned},
                {"preloader", preloader},
                {"preloader, wrong signature", preloader_unsigned}};
    static char names[ARRAY_LEN(target_rows) * ARRAY_LEN(ways)][64];
    struct CMUnitTest tests[ARRAY_LEN(names) + 2];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(target_rows); i++)
        for (size_t k = 0; k < ARRAY_LEN(ways); k++, count++) {
            snprintf(names[count], sizeof(names[0]), "%s: %s", target_rows[i].name, ways[k].name);
            tests[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = ways[k].run,
                                               .teardown_func = put_away,
                                               .initial_state = (void *)(uintptr_t)&target_rows[i]};
        }
    tests[count++] = (struct CMUnitTest)cmocka_unit_test_teardown(foreign_file, put_away);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test_teardown(long_agent, put_away);
    return _cmocka_run_group_tests("target configurations", tests, count, up, down);
}
