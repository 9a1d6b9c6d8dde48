/* What can go wrong between the station's download path (usb/proto/da) and the emulated phone, in all USB models and
 * agent builds: errors that show up late (README of tests/phone, "Writing", "Reading") and everything an agent dies of
 * ("Download agent"). Each case has to be met at least once, with the host's error named, and the phone counting only
 * the host mistakes that a damaged wire made. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/phone_bench.h"
#include "tests/unit/rows.h"
#include "usb/base/clock.h"
#include "usb/base/mem.h"

enum {
    MIB = 1 << 20,
    GROUP_BYTES = 4 * MIB, /* the writer's turn: an error of the first group shows up behind it */
    LONG_BYTES = 9 * MIB + 512,
    PATIENCE_MS = 20000,
};

/* ---- the cases, and which were met
 * -------------------------------------------------------------------- */

#define CASES(X)                                                                                   \
    X(WRITE_EARLY, "write error of the first 4 MiB: status of the chunk after them, and final")    \
    X(WRITE_LATE, "write error of the last 4 MiB: final status only")                              \
    X(WRITE_SHORT, "write error of at most 4 MiB: final status only")                              \
    X(WRITE_2017, "write error anywhere in a long write, 2017: final status only")                 \
    X(TOO_LARGE_EARLY,                                                                             \
      "DOWNLOAD beyond its partition: status of the chunk after 4 MiB, and final")                 \
    X(TOO_LARGE_SHORT, "DOWNLOAD beyond its partition, at most 4 MiB: final status only")          \
    X(TOO_LARGE_2017, "DOWNLOAD beyond its partition, long, 2017: final status only")              \
    X(READ_BACK_EARLY,                                                                             \
      "failed read-back of the first 4 MiB: status of the chunk after, and final")                 \
    X(READ_BACK_LATE, "failed read-back of the last 4 MiB: final status only")                     \
    X(READ_BACK_SHORT, "failed read-back of at most 4 MiB: final status only")                     \
    X(READ_BACK_2017, "failed read-back anywhere in a long write, 2017: final status only")        \
    X(CHUNK_SUM, "wrong chunk checksum: chunk status and final")                                   \
    X(LYING_WRITE, "write that reports success and did not happen")                                \
    X(READ_FIRST, "read error in the first chunk: in its place, and final")                        \
    X(READ_LATER, "read error in a later chunk, seen one chunk early")                             \
    X(CANCELLED, "write cancelled by the host: one status, loop healthy")                          \
    X(ABORTED, "read stopped by the host: its own word is the final status")                       \
    X(COMMAND_MAGIC, "command with a wrong magic: silent, dead")                                   \
    X(COMMAND_LONG, "command of more than 4 bytes: silent, dead")                                  \
    X(CONTROL_LONG, "control code of more than 4 bytes: one C0010004, dead")                       \
    X(ACK_MAGIC, "acknowledgement with a wrong magic: one C0010005, dead")                         \
    X(ACK_LONG, "acknowledgement too long: one C0010006, dead")                                    \
    X(HOST_STATUS_MAGIC, "host status with a wrong magic: one C0010005, dead")                     \
    X(HOST_STATUS_LONG, "host status too long: one C0010006, dead")                                \
    X(SUM_MAGIC, "checksum with a wrong magic: one C0010005, dead")                                \
    X(SUM_LONG, "checksum too long: one C0010006, dead")                                           \
    X(DATA_MAGIC, "data with a wrong magic: one C0010005, dead")                                   \
    X(DATA_LONG, "data too long: one C0010006, dead")                                              \
    X(RANGE_MAGIC, "READ block with a wrong magic: leftovers are used, then dead")                 \
    X(RANGE_LONG, "READ block too long: leftovers are used, then dead")                            \
    X(WRITE_RANGE_MAGIC, "WRITE block with a wrong magic: leftovers are used, then dead")          \
    X(WRITE_RANGE_LONG, "WRITE block too long: leftovers are used, then dead")                     \
    X(WRITE_LEFTOVERS, "WRITE block spoilt behind a READ: that one's range is taken, then dead")   \
    X(SHUTDOWN_LONG, "SHUTDOWN block too long: no reboot, dead")                                   \
    X(NAME_LONG, "UPLOAD name of more than 64 bytes: C0040006, dead")                              \
    X(DOWNLOAD_NAME_LONG, "DOWNLOAD name of more than 64 bytes: C0040006, dead")                   \
    X(POSITIVE_FIRST, "positive host status before the first chunk: echoed, out of step")          \
    X(POSITIVE_FIRST_2017, "the same, 2017: C0010007, out of step")                                \
    X(POSITIVE_LATER, "positive host status after a chunk: flash damaged, dead")                   \
    X(EMPTY_PACKET, "empty packet, buffered: a stale byte begins the header, dead")                \
    X(EMPTY_IGNORED, "empty packet, the other drivers: ignored")                                   \
    X(START_SYNC, "DA1 start: another word than SYNC, silent for ever")                            \
    X(START_ENVIRONMENT, "DA1 start: another command than SETUP_ENVIRONMENT, status 0, silent")    \
    X(START_BLOCK, "DA1 start: environment too long, C0010006, silent")                            \
    X(START_INIT, "DA1 start: another command than SETUP_HW_INIT_PARAMS, status 0, silent")
enum met_case {
#define X(name, text) CASE_##name,
    CASES(X)
#undef X
        CASE_COUNT
};
static const char *const case_texts[] = {
#define X(name, text) text,
    CASES(X)
#undef X
};
static unsigned met[CASE_COUNT];

struct variant {
    enum usb_model model;
    enum da_build build;
};
static const char *const models[] = {"field", "buffered", "exact"};
static const char *const builds[] = {"2018", "2017", "2019"};

/* ---- a wire that changes one byte
 * --------------------------------------------------------------------- */

struct bend { /* of the n-th write from now on, counted from 0 */
    int write;
    size_t byte;
    uint8_t mask;
};
struct bent_wire {
    struct transport transport;
    struct bend bend;
    int writes;        /* so far; negative: not armed */
    unsigned commands; /* that the host has sent, as it meant them, since it was armed */
    bool word_follows; /* the last write was a header of 4 bytes */
};

static ssize_t bent_read(struct transport *t, void *dst, size_t len, int64_t until_ms,
                         struct err *err)
{
    return transport_read(t->below, dst, len, until_ms, err);
}

/* Codes of commands are larger than any checksum, host status or acknowledgement. */
static void commands_count(struct bent_wire *w, const uint8_t *src, size_t len)
{
    bool word = w->word_follows && len == 4;
    w->word_follows =
        len == XFLASH_HEADER_BYTES && get_le32(src) == XFLASH_MAGIC && get_le32(src + 8) == 4;
    w->commands += word && xflash_command_find(get_le32(src)) != NULL;
}

static ssize_t bent_write(struct transport *t, const void *src, size_t len, int64_t until_ms,
                          struct err *err)
{
    struct bent_wire *w = (struct bent_wire *)(void *)t;
    if (w->writes >= 0)
        commands_count(w, src, len);
    if (w->writes < 0 || w->writes++ != w->bend.write)
        return transport_write(t->below, src, len, until_ms, err);
    assert_true(w->bend.byte < len);
    AUTO(free_ptr) uint8_t *copy = xcalloc(1, len);
    memcpy(copy, src, len);
    copy[w->bend.byte] ^= w->bend.mask;
    return transport_write(t->below, copy, len, until_ms, err);
}

static ssize_t bent_control(struct transport *t, const struct usb_setup *setup, void *data,
                            int64_t until_ms, struct err *err)
{
    return transport_control(t->below, setup, data, until_ms, err);
}

static void bent_close(struct transport *t)
{
    transport_close(&t->below);
    free(t);
}

static struct bent_wire *wire_bend(struct phone_session *s)
{
    static const struct transport_ops ops = {"bent", bent_read, bent_write, bent_control,
                                             bent_close};
    struct bent_wire *w = xcalloc(1, sizeof(*w));
    w->transport = (struct transport){.ops = &ops, .below = s->transport};
    w->writes = -1;
    s->transport = &w->transport;
    s->link.transport = s->transport;
    return w;
}

/* ---- sessions
 * ----------------------------------------------------------------------------------------- */

static struct gpt *table;
static struct phone_session session; /* of the test that runs; put away even when that fails */

static void begin(struct phone_session *s, const struct variant *v)
{
    struct board_settings *settings = board_settings(phone_bench.phone);
    settings->usb_model = v->model;
    settings->da_build = v->build;
    settings->brom_window_ms = 300000; /* this machine may be slow */
    clock_scale_set(0.1);              /* a phone takes its time to appear */
    phone_plug(phone_bench.phone, true);
    phone_take(s, BROM_USB_PID_BROM);
    clock_scale_set(1);
}

static void end(struct phone_session *s)
{
    da_deinit(&s->da);
    clock_scale_set(1);
    transport_close(&s->transport);
    fault_plan_clear(&phone_bench.phone->faults);
    phone_put_away(phone_bench.phone);
}

static int put_away(void **state)
{
    (void)state;
    end(&session);
    return 0;
}

static void arm(const char *fault)
{
    struct err err = {0};
    phone_ok(fault_plan_add(&phone_bench.phone->faults, fault, &err), &err);
}

static void arm_at(const char *kind, uint64_t byte)
{
    char fault[64];
    snprintf(fault, sizeof(fault), "%s@byte=%llu", kind, (unsigned long long)byte);
    arm(fault);
}

static struct extent userdata(void)
{
    struct err err = {0};
    struct extent e;
    phone_ok(gpt_lookup(table, "userdata", &e, &err), &err);
    assert_true(e.size_bytes >= LONG_BYTES);
    return e;
}

/* The agent at high speed, as jobs have it, where a short chunk fits into the controller. */
static void speed_up(struct phone_session *s)
{
    struct err err = {0};
    phone_ok(da_switch_usb_speed(&s->da, &err), &err);
    phone_take(s, BROM_USB_PID_DA_HIGHSPEED);
    da_reattach(&s->da, &s->link);
}

static int ignore(void *arg, const void *data, size_t len, struct err *err)
{
    (void)data, (void)err;
    *(uint64_t *)arg += len;
    return 0;
}

static int pattern(void *arg, void *dst, size_t len, struct err *err)
{
    uint64_t *at = arg;
    uint8_t *out = dst;
    (void)err;
    for (size_t i = 0; i < len; i++, ++*at)
        out[i] = (uint8_t)(*at * 7 + (*at >> 12) + 1);
    return 0;
}

static int same(void *arg, const void *data, size_t len, struct err *err)
{
    uint64_t *at = arg;
    const uint8_t *in = data;
    for (size_t i = 0; i < len; i++, ++*at)
        if (in[i] != (uint8_t)(*at * 7 + (*at >> 12) + 1))
            return err_set(err, ERR_VERIFY, "byte %llu differs", (unsigned long long)*at);
    return 0;
}

/* One byte a chunk, that of the row: 16-bit sums of what is written above are all alike. */
static int one_byte(void *arg, void *dst, size_t len, struct err *err)
{
    (void)err;
    memset(dst, 0, len);
    memcpy(dst, arg, 1);
    return 0;
}

/* Any word but an error is the phone's: its loop is healthy. */
static void expect_healthy(struct phone_session *s)
{
    struct err err = {0};
    char text[DA_TEXT_BYTES];
    phone_ok(da_get_text(&s->da, XFLASH_GET_USB_SPEED, text, &err), &err);
}

/* ---- what the phone has counted
 * -------------------------------------------------------------------------------- */

static const char *first_violation(void)
{
    static char name[VIOLATION_NAME_BYTES];
    struct board *b = phone_bench.phone;
    pthread_mutex_lock(&b->lock);
    snprintf(name, sizeof(name), "%s", b->violation_count ? b->violations[0].name : "");
    pthread_mutex_unlock(&b->lock);
    return name;
}

static unsigned violations_of(const char *name)
{
    struct board *b = phone_bench.phone;
    unsigned count = 0;
    pthread_mutex_lock(&b->lock);
    for (unsigned i = 0; i < b->violation_count; i++)
        if (strcmp(b->violations[i].name, name) == 0)
            count = b->violations[i].count;
    pthread_mutex_unlock(&b->lock);
    return count;
}

static void forget_violations(void)
{
    pthread_mutex_lock(&phone_bench.phone->lock);
    phone_bench.phone->violation_count = 0;
    memset(phone_bench.phone->violations, 0, sizeof(phone_bench.phone->violations));
    pthread_mutex_unlock(&phone_bench.phone->lock);
}

/* ---- errors that come late: the wire is intact, and the phone can be asked again
 * ------------------------ */

static void remember_progress(void *arg, uint64_t done, uint64_t total)
{
    (void)total;
    *(uint64_t *)arg = done;
}

struct late_row {
    enum met_case met, met_2017;
    size_t len;
    uint64_t fault_at; /* bytes from the start of userdata */
    uint64_t accepted; /* bytes that were accepted before the error came; 2017: all */
};

/* What came of the row's write, and when. */
static void expect_late(struct phone_session *s, const struct variant *v,
                        const struct late_row *row, uint64_t accepted)
{
    bool y2017 = v->build == BUILD_2017;
    assert_int_equal(accepted, y2017 ? row->len : row->accepted);
    met[y2017 ? row->met_2017 : row->met]++;
    expect_healthy(s);
}

static void write_errors(struct phone_session *s, const struct variant *v)
{
    static const struct late_row rows[] = {
        {CASE_WRITE_EARLY, CASE_WRITE_2017, LONG_BYTES, MIB, GROUP_BYTES},
        {CASE_WRITE_LATE, CASE_WRITE_2017, LONG_BYTES, 8 * MIB + 1024, LONG_BYTES},
        {CASE_WRITE_SHORT, CASE_WRITE_SHORT, GROUP_BYTES, MIB, GROUP_BYTES},
    };
    const struct extent to = userdata();
    struct err err = {0};
    uint64_t accepted = 0;
    s->link.progress = remember_progress;
    s->link.progress_arg = &accepted;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t at = 0;
        arm_at("storage_write", to.start_bytes + rows[i].fault_at);
        assert_int_equal(
            da_write(&s->da, XFLASH_USER, to.start_bytes, rows[i].len, pattern, &at, &err),
            ERR_STORAGE);
        expect_late(s, v, &rows[i], accepted);
    }
    s->link.progress = NULL;
}

/* The phone compares sizes too late. Our host does it before; here it goes by a table that is wrong. */
static void too_large(struct phone_session *s, const struct variant *v)
{
    static const struct late_row rows[] = {
        {CASE_TOO_LARGE_EARLY, CASE_TOO_LARGE_2017, LONG_BYTES, 0, GROUP_BYTES},
        {CASE_TOO_LARGE_SHORT, CASE_TOO_LARGE_SHORT, GROUP_BYTES, 0, GROUP_BYTES},
    };
    struct err err = {0};
    struct extent to;
    uint64_t accepted = 0;
    phone_ok(gpt_lookup(table, "expdb", &to, &err), &err);
    assert_true(to.size_bytes < GROUP_BYTES);
    s->link.progress = remember_progress;
    s->link.progress_arg = &accepted;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t at = 0;
        assert_int_equal(da_download(&s->da, "expdb", LONG_BYTES, rows[i].len, pattern, &at, &err),
                         ERR_LIMIT);
        expect_late(s, v, &rows[i], accepted);
    }
    s->link.progress = NULL;
}

static void read_errors(struct phone_session *s)
{
    const struct extent from = userdata();
    struct err err = {0};
    static const struct {
        enum met_case met;
        uint64_t at, given; /* read ahead: the chunk before the bad one is withheld */
    } rows[] = {
        {CASE_READ_FIRST, 512, 0},
        {CASE_READ_LATER, 3 * XFLASH_DA2_READ_PACKET_OTHER - 512, XFLASH_DA2_READ_PACKET_OTHER}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t got = 0;
        arm_at("storage_read", from.start_bytes + rows[i].at);
        assert_int_equal(
            da_read(&s->da, XFLASH_USER, from.start_bytes, LONG_BYTES, ignore, &got, &err),
            ERR_STORAGE);
        assert_int_equal(got, rows[i].given);
        met[rows[i].met]++;
        expect_healthy(s);
    }
}

/* A write that says it is done and is not: only reading back finds out. */
static void lying_write(struct phone_session *s)
{
    const struct extent to = userdata();
    struct err err = {0};
    uint64_t at = 0, seen = 0;
    phone_ok(da_write(&s->da, XFLASH_USER, to.start_bytes, MIB, pattern, &at, &err), &err);
    phone_ok(da_read(&s->da, XFLASH_USER, to.start_bytes, MIB, same, &seen, &err), &err);
    at = 512; /* other contents */
    arm_at("lying_write", to.start_bytes);
    phone_ok(da_write(&s->da, XFLASH_USER, to.start_bytes, MIB, pattern, &at, &err), &err);
    seen = 512;
    assert_int_equal(da_read(&s->da, XFLASH_USER, to.start_bytes, MIB, same, &seen, &err),
                     ERR_VERIFY);
    met[CASE_LYING_WRITE]++;
    met[CASE_ABORTED]++; /* the sink stopped that read */
    expect_healthy(s);
}

static int stops_later(void *arg, void *dst, size_t len, struct err *err)
{
    uint64_t *at = arg;
    return *at >= 2 * MIB ? err_set(err, ERR_CANCELLED, "the source stops")
                          : pattern(arg, dst, len, err);
}

static void cancelled(struct phone_session *s)
{
    const struct extent to = userdata();
    struct err err = {0};
    uint64_t at = 0;
    assert_int_equal(
        da_write(&s->da, XFLASH_USER, to.start_bytes, LONG_BYTES, stops_later, &at, &err),
        ERR_CANCELLED);
    met[CASE_CANCELLED]++;
    expect_healthy(s);
}

static void late_errors(void **state)
{
    const struct variant *v = *state;
    struct phone_session *s = &session;
    forget_violations();
    begin(s, v);
    phone_start_agent(s, BROM_STAGE_BROM);
    phone_read_table(s, table);
    write_errors(s, v);
    read_errors(s);
    lying_write(s);
    cancelled(s);
    assert_string_equal(first_violation(), "");
    too_large(s, v);
    end(s);
    assert_string_equal(first_violation(), "xflash.image_larger_than_partition");
}

/* A payload that changed on its way: the agent compares the host's sum. Not the host's mistake, but nothing tells a
 * phone that. */
static void damaged_data(void **state)
{
    const struct variant *v = *state;
    struct err err = {0};
    struct phone_session *s = &session;
    uint64_t at = 0;
    forget_violations();
    begin(s, v);
    struct bent_wire *w = wire_bend(s);
    phone_start_agent(s, BROM_STAGE_BROM);
    w->bend = (struct bend){9, 1000, 1};
    w->writes = 0;
    assert_int_equal(da_write(&s->da, XFLASH_USER, userdata().start_bytes, MIB, pattern, &at, &err),
                     ERR_VERIFY);
    met[CASE_CHUNK_SUM]++;
    expect_healthy(s);
    end(s);
    assert_string_equal(first_violation(), "xflash.wrong_chunk_checksum");
}

/* The agent's own read-back (checksum level 3), of a part that was not written. */
static void read_back_errors(struct phone_session *s, const struct variant *v)
{
    static const struct late_row rows[] = {
        {CASE_READ_BACK_EARLY, CASE_READ_BACK_2017, LONG_BYTES, MIB, GROUP_BYTES},
        {CASE_READ_BACK_LATE, CASE_READ_BACK_2017, LONG_BYTES, 8 * MIB + 1024, LONG_BYTES},
        {CASE_READ_BACK_SHORT, CASE_READ_BACK_SHORT, MIB, 0, MIB},
    };
    const struct extent to = userdata();
    struct err err = {0};
    uint64_t accepted = 0;
    s->link.progress = remember_progress;
    s->link.progress_arg = &accepted;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t byte = (uint8_t)(i + 1);
        arm_at("lying_write", to.start_bytes + rows[i].fault_at);
        assert_int_equal(
            da_write(&s->da, XFLASH_USER, to.start_bytes, rows[i].len, one_byte, &byte, &err),
            ERR_VERIFY);
        expect_late(s, v, &rows[i], accepted);
    }
    s->link.progress = NULL;
}

static void agent_reads_back(void **state)
{
    const struct variant *v = *state;
    struct err err = {0};
    struct phone_session *s = &session;
    forget_violations();
    begin(s, v);
    phone_start_da1(s, BROM_STAGE_BROM);
    phone_ok(da_start(&s->da, DA_OPTIONS_DEFAULT, &err), &err);
    phone_ok(da_set_checksum_level(&s->da, XFLASH_CHECKSUM_USB | XFLASH_CHECKSUM_STORAGE, &err),
             &err);
    phone_ok(da_init_dram(&s->da, phone_bench.emi, &err), &err);
    phone_start_da2(s);
    read_back_errors(s, v);
    end(s);
    assert_string_equal(first_violation(), "");
}

/* ---- what an agent dies of: one byte of the host's stream is changed, the host does the rest by itself
 * -- */

enum operation {
    OP_START,
    OP_GET,
    OP_READ,
    OP_WRITE,
    OP_WRITE_SHORT, /* one chunk that the controller takes even when nobody asks for it */
    OP_UPLOAD,
    OP_DOWNLOAD,
    OP_SHUTDOWN
};

enum { MAGIC = 0, LENGTH = 9 };       /* bytes of a packet header */
static const double DEAD_SCALE = 0.1; /* of the host's deadlines, which are what most rows take */

enum dead_flags {
    ALONE = 0,
    /* What the host sends in good faith after the agent's answer comes to a dead one. */
    UNDER_WAY = 1,
    AFTER_READ = 2, /* the agent has met a whole parameter block before */
    HIGH_SPEED = 4,
    /* A buffered agent's answer, a packet a byte, waits for the host to read, and the host for the agent to take its last
     * word: the host learns it at once. */
    CROSSED = 8,
    EVERYWHERE = 16, /* in all variants */
};
/* Mistakes as the phone counts them. */
static const char bad_magic[] = "xflash.bad_magic";
static const char too_long[] = "xflash.packet_too_long";
static const char in_write[] = "xflash.host_status_in_write";
static const char start_order[] = "xflash.da1_start_order";
static const char to_the_dead[] = "xflash.command_to_dead_agent";

/* Writes of the host: header and payload of each packet. READ, WRITE: 1 command, 3 range; READ: 5
 * acknowledgement; WRITE: 5 host status, 7 sum, 9 data, 11 host status. DOWNLOAD: 1 command, 3 name,
 * 5 length. START: 1 SYNC, 3 command, 5 environment, 7 command. */
static const struct dead_row {
    enum met_case met;
    enum operation op;
    struct bend bend;
    int want;          /* of the operation */
    unsigned commands; /* that it sends */
    const char *violation;
    unsigned flags;
} dead_rows[] = {
    {CASE_COMMAND_MAGIC, OP_GET, {0, MAGIC, 1}, ERR_DEAD, 1, bad_magic, ALONE},
    {CASE_COMMAND_LONG, OP_GET, {0, LENGTH, 1}, ERR_DEAD, 1, too_long, ALONE},
    {CASE_CONTROL_LONG, OP_GET, {2, LENGTH, 1}, ERR_UNSUPPORTED, 1, too_long, ALONE},
    {CASE_ACK_MAGIC, OP_READ, {4, MAGIC, 1}, ERR_DEAD, 1, bad_magic, ALONE},
    {CASE_ACK_LONG, OP_READ, {4, LENGTH, 1}, ERR_DEAD, 1, too_long, ALONE},
    {CASE_HOST_STATUS_MAGIC, OP_WRITE, {4, MAGIC, 1}, ERR_DEAD, 1, bad_magic, ALONE},
    {CASE_HOST_STATUS_LONG, OP_WRITE, {4, LENGTH, 1}, ERR_DEAD, 1, too_long, ALONE},
    {CASE_SUM_MAGIC, OP_WRITE_SHORT, {6, MAGIC, 1}, ERR_DEAD, 1, bad_magic, HIGH_SPEED},
    {CASE_SUM_LONG, OP_WRITE_SHORT, {6, LENGTH, 1}, ERR_DEAD, 1, too_long, HIGH_SPEED},
    {CASE_DATA_MAGIC, OP_WRITE_SHORT, {8, MAGIC, 1}, ERR_DEAD, 1, bad_magic, HIGH_SPEED},
    {CASE_DATA_LONG, OP_WRITE_SHORT, {8, LENGTH, 1}, ERR_DEAD, 1, too_long, HIGH_SPEED},
    {CASE_RANGE_MAGIC, OP_READ, {2, MAGIC, 1}, ERR_INPUT, 1, bad_magic, ALONE},
    {CASE_RANGE_LONG, OP_READ, {2, LENGTH, 1}, ERR_INPUT, 1, too_long, ALONE},
    {CASE_WRITE_RANGE_MAGIC, OP_WRITE, {2, MAGIC, 1}, ERR_INPUT, 1, bad_magic, ALONE},
    {CASE_WRITE_RANGE_LONG, OP_WRITE, {2, LENGTH, 1}, ERR_INPUT, 1, too_long, ALONE},
    {CASE_WRITE_LEFTOVERS,
     OP_WRITE_SHORT,
     {2, LENGTH, 1},
     ERR_DEAD,
     1,
     too_long,
     UNDER_WAY | AFTER_READ | HIGH_SPEED},
    {CASE_SHUTDOWN_LONG, OP_SHUTDOWN, {2, LENGTH, 1}, 0, 1, too_long, ALONE},
    {CASE_NAME_LONG, OP_UPLOAD, {2, LENGTH, 1}, ERR_NOT_FOUND, 1, too_long, ALONE},
    {CASE_DOWNLOAD_NAME_LONG, OP_DOWNLOAD, {2, LENGTH, 1}, ERR_NOT_FOUND, 1, too_long, CROSSED},
    {CASE_POSITIVE_FIRST, OP_WRITE, {5, 0, 9}, ERR_DEAD, 1, in_write, ALONE},
    {CASE_POSITIVE_FIRST,
     OP_WRITE_SHORT,
     {5, 0, 9},
     ERR_DEAD,
     1,
     in_write,
     HIGH_SPEED | EVERYWHERE},
    {CASE_POSITIVE_LATER, OP_WRITE, {11, 0, 9}, ERR_DEAD, 1, in_write, ALONE},
    {CASE_START_SYNC, OP_START, {1, 0, 1}, ERR_DEAD, 1, start_order, ALONE},
    {CASE_START_ENVIRONMENT, OP_START, {3, 0, 1}, ERR_DEAD, 2, start_order, UNDER_WAY},
    {CASE_START_BLOCK, OP_START, {4, LENGTH, 1}, ERR_DEAD, 1, too_long, ALONE},
    {CASE_START_INIT, OP_START, {7, 0, 1}, ERR_DEAD, 2, start_order, ALONE},
};

static int operate(struct phone_session *s, enum operation op, struct err *err)
{
    uint64_t at = 0;
    char text[DA_TEXT_BYTES];
    struct extent e = userdata();
    switch (op) {
    case OP_START:
        return da_start(&s->da, DA_OPTIONS_DEFAULT, err);
    case OP_GET:
        return da_get_text(&s->da, XFLASH_GET_USB_SPEED, text, err);
    case OP_READ:
        return da_read(&s->da, XFLASH_USER, e.start_bytes, 4096, ignore, &at, err);
    case OP_WRITE:
        return da_write(&s->da, XFLASH_USER, e.start_bytes, 2 * MIB, pattern, &at, err);
    case OP_WRITE_SHORT:
        return da_write(&s->da, XFLASH_USER, e.start_bytes, XFLASH_BLOCK_BYTES, pattern, &at, err);
    case OP_UPLOAD:
        return da_upload(&s->da, "nvram", 0, ignore, &at, err);
    case OP_DOWNLOAD:
        return da_download(&s->da, "nvram", 512, 512, pattern, &at, err);
    case OP_SHUTDOWN:
        break;
    }
    return da_shutdown(&s->da, &DA_SHUTDOWN_REBOOT, err);
}

/* The phone notices on its own thread. */
static void expect_violation(const char *name)
{
    int64_t until = clock_now_ms() + PATIENCE_MS;
    struct timespec pause = {0, 2000000};
    while (!violations_of(name) && clock_now_ms() < until)
        nanosleep(&pause, NULL);
    assert_true(violations_of(name) > 0);
}

/* An agent that takes nothing: on a busy machine the transfer is not even withdrawn in the scaled time, and the
 * connection ends. */
static int dead_or(int rc, int want)
{
    return rc == ERR_GONE && want == ERR_DEAD ? ERR_DEAD : rc;
}

/* The host knows that the agent is lost: the link says so, and nothing goes out any more. */
static void expect_silence(struct phone_session *s, const struct bent_wire *w)
{
    struct err err = {0};
    int writes = w->writes;
    assert_true(s->link.dead);
    assert_int_equal(operate(s, OP_GET, &err), ERR_DEAD);
    assert_int_equal(w->writes, writes);
}

/* The host was told something that left it in good faith: its next command is the one by which it learns. */
static void expect_lesson(struct phone_session *s, const struct bent_wire *w)
{
    struct err err = {0};
    unsigned commands = w->commands;
    assert_false(s->link.dead);
    assert_int_equal(dead_or(operate(s, OP_GET, &err), ERR_DEAD), ERR_DEAD);
    assert_int_equal(w->commands, commands + 1);
    expect_violation(to_the_dead);
    expect_silence(s, w);
}

static void dead(const struct dead_row *row, const struct variant *v)
{
    struct err err = {0};
    struct phone_session *s = &session;
    forget_violations();
    begin(s, v);
    if (row->op == OP_START)
        phone_start_da1(s, BROM_STAGE_BROM);
    else
        phone_start_agent(s, BROM_STAGE_BROM);
    if (row->flags & HIGH_SPEED)
        speed_up(s);
    if (row->flags & AFTER_READ)
        phone_ok(operate(s, OP_READ, &err), &err);
    struct bent_wire *w = wire_bend(s);
    w->bend = row->bend;
    w->writes = 0;
    clock_scale_set(DEAD_SCALE);
    int want = row->flags & CROSSED && v->model == MODEL_BUFFERED ? ERR_DEAD : row->want;
    assert_int_equal(dead_or(operate(s, row->op, &err), want), want);
    assert_int_equal(w->commands, row->commands);
    bool knows = want == ERR_DEAD || row->op == OP_SHUTDOWN;
    if (knows)
        expect_silence(s, w);
    else
        expect_lesson(s, w);
    expect_violation(row->violation);
    end(s);
    assert_string_equal(first_violation(), row->violation);
    if (knows && !(row->flags & UNDER_WAY))
        assert_int_equal(violations_of(to_the_dead), 0);
    bool y2017 = row->met == CASE_POSITIVE_FIRST && v->build == BUILD_2017;
    met[y2017 ? CASE_POSITIVE_FIRST_2017 : row->met]++;
}

/* What our transports never send: the controller has it without an answer to anybody. */
static void send_empty_packet(struct board *b)
{
    struct urb *u = urb_new();
    pthread_mutex_lock(&b->lock);
    struct link *link = b->usb.link;
    u->endpoint = b->usb.gadget->ep_out;
    u->acked = true;
    pthread_mutex_unlock(&b->lock);
    assert_int_equal(usb_device_submit(b, link, u), 0);
}

static void empty_packet(const struct variant *v)
{
    struct err err = {0};
    struct phone_session *s = &session;
    bool buffered = v->model == MODEL_BUFFERED;
    forget_violations();
    begin(s, v);
    phone_start_agent(s, BROM_STAGE_BROM);
    struct bent_wire *w = wire_bend(s);
    w->bend.write = -1;
    w->writes = 0;
    send_empty_packet(phone_bench.phone);
    clock_scale_set(buffered ? DEAD_SCALE : 1);
    assert_int_equal(operate(s, OP_GET, &err), buffered ? ERR_DEAD : 0);
    assert_int_equal(w->commands, 1);
    if (buffered)
        expect_silence(s, w);
    else
        expect_healthy(s);
    end(s);
    assert_string_equal(first_violation(), "xflash.zero_length_packet");
    assert_int_equal(violations_of("xflash.bad_magic"), buffered);
    assert_int_equal(violations_of(to_the_dead), 0);
    met[buffered ? CASE_EMPTY_PACKET : CASE_EMPTY_IGNORED]++;
}

/* Each row in at least three of the nine variants: all models and all builds meet it. */
static void what_agents_die_of(void **state)
{
    const struct variant *v = *state;
    empty_packet(v);
    for (size_t i = 0; i < ARRAY_LEN(dead_rows); i++)
        if (dead_rows[i].flags & EVERYWHERE || i % 3 == ((size_t)v->model + v->build) % 3) {
            print_message("%s, %s: %s\n", models[v->model], builds[v->build],
                          case_texts[dead_rows[i].met]);
            dead(&dead_rows[i], v);
        }
}

/* ---- faults of the phone's own
 * ------------------------------------------------------------------------ */

static const struct fault_row {
    const char *name; /* the fault; N stands for the next transfer, the command's header */
    int want;         /* of the operation */
    bool healthy;     /* afterwards */
    double scale;
    enum operation op;
    unsigned behind; /* N: by so many transfers of the command later */
} fault_rows[] = {
    {"lie@transfer=N", ERR_DEAD, false, 0.1, OP_GET, 0},
    {"short@transfer=N", ERR_DEAD, false, 0.1, OP_GET, 0},
    {"garbage@transfer=N@seed=3", ERR_DEAD, false, 0.1, OP_GET, 0},
    {"stall@transfer=N", ERR_DEAD, false, 0.1, OP_GET, 0},
    {"nak@transfer=N", ERR_DEAD, false, 0.1, OP_GET, 0},
    /* later than a busy machine is */
    {"late@transfer=N@ms=60000", ERR_DEAD, false, 0.1, OP_GET, 0},
    {"late@transfer=N@ms=50", 0, true, 1, OP_GET, 0},
    {"unplug@transfer=N", ERR_GONE, false, 1, OP_GET, 0},
    {"reset@transfer=N", ERR_DEAD, false, 0.1, OP_GET, 0},
    {"oversized", ERR_DEAD, false, 0.1, OP_GET, 0},
    {"da_status@status=0xc0020004", ERR_REFUSED, true, 1, OP_GET, 0},
    {"da_status", ERR_STORAGE, true, 1, OP_GET, 0},
    /* a word is two transfers, of either side; the first status comes behind two */
    {"da_status@transfer=N@status=0xc0010004", ERR_UNSUPPORTED, true, 1, OP_GET, 4},
    {"da_status@transfer=N@status=0xc0040030", ERR_STORAGE, true, 1, OP_GET, 7},
    {"da_status@transfer=N@status=0xc004000b", ERR_INPUT, true, 1, OP_READ, 4},
    {"da_status@transfer=N@status=0xc0040030", ERR_STORAGE, true, 1, OP_READ, 7},
    {"da_status@transfer=N@status=0xc0040030", ERR_STORAGE, true, 1, OP_READ, 9},
    {"da_status@transfer=N@status=0xc002000c", ERR_REFUSED, true, 1, OP_WRITE, 4},
    {"da_status@transfer=N@status=0xc0040003", ERR_VERIFY, true, 1, OP_WRITE, 9},
    {"log_packet", 0, true, 1, OP_GET, 0},
    {"merged", 0, true, 1, OP_GET, 0},
};

static void phone_faults(void **state)
{
    const struct fault_row *row = *state;
    struct err err = {0};
    struct phone_session *s = &session;
    char spec[64], *n;
    begin(s, &(struct variant){MODEL_FIELD, BUILD_2018});
    phone_start_agent(s, BROM_STAGE_BROM);
    snprintf(spec, sizeof(spec), "%s", row->name);
    if ((n = strstr(spec, "=N"))) {
        pthread_mutex_lock(&phone_bench.phone->faults.lock);
        snprintf(n, sizeof(spec) - (size_t)(n - spec), "=%llu%s",
                 (unsigned long long)phone_bench.phone->faults.transfers + 1 + row->behind,
                 row->name + (n - spec) + 2);
        pthread_mutex_unlock(&phone_bench.phone->faults.lock);
    }
    arm(spec);
    clock_scale_set(row->scale);
    assert_int_equal(dead_or(operate(s, row->op, &err), row->want), row->want);
    assert_int_equal(s->link.dead, !row->healthy);
    assert_int_equal(fault_plan_clear(&phone_bench.phone->faults), 0); /* it happened */
    assert_int_equal(operate(s, OP_GET, &err), row->healthy ? 0 : ERR_DEAD);
    end(s);
}

/* Both sizes of the model: the agent tells them, and the partition table goes by them. */
static void both_sizes(void **state)
{
    static const struct {
        enum factory_profile profile;
        uint64_t user_bytes;
    } sizes[] = {{PROFILE_MINI, 335544320}, {PROFILE_MINI64, 671088640}};
    (void)state;
    uint64_t userdata_bytes[ARRAY_LEN(sizes)];
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(phone_bench_down(), 0);
        assert_int_equal(phone_bench_up(sizes[i].profile), 0);
        begin(&session, &(struct variant){MODEL_FIELD, BUILD_2018});
        phone_start_agent(&session, BROM_STAGE_BROM);
        assert_int_equal(session.da.emmc.user_bytes, sizes[i].user_bytes);
        phone_read_table(&session, table);
        userdata_bytes[i] = userdata().size_bytes;
        end(&session);
    }
    assert_int_equal(userdata_bytes[1] - userdata_bytes[0],
                     sizes[1].user_bytes - sizes[0].user_bytes);
}

static void every_case_was_met(void **state)
{
    (void)state;
    unsigned missing = 0;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        print_message("met %2u times: %s\n", met[i], case_texts[i]);
        missing += met[i] == 0;
    }
    assert_int_equal(missing, 0);
}

static int up(void **state)
{
    struct phone_session *s = &session;
    (void)state;
    if (phone_bench_up(PROFILE_MINI) != 0)
        return -1;
    table = xcalloc(1, sizeof(*table));
    begin(s, &(struct variant){MODEL_FIELD, BUILD_2018});
    phone_start_agent(s, BROM_STAGE_BROM);
    phone_read_table(s, table);
    end(s);
    return 0;
}

static int down(void **state)
{
    (void)state;
    free(table);
    return phone_bench_down();
}

int main(void)
{
    enum { VARIANTS = 9, PER_VARIANT = 4 };
    static struct variant variants[VARIANTS];
    static char names[VARIANTS * PER_VARIANT][80];
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } per[PER_VARIANT] = {{"late errors", late_errors},
                          {"damaged data", damaged_data},
                          {"the agent reads back", agent_reads_back},
                          {"what agents die of", what_agents_die_of}};
    struct CMUnitTest tests[VARIANTS * PER_VARIANT + ARRAY_LEN(fault_rows) + 2];
    size_t count = 0;
    for (size_t i = 0; i < VARIANTS; i++) {
        variants[i] = (struct variant){(enum usb_model)(i / 3), (enum da_build)(i % 3)};
        for (size_t k = 0; k < PER_VARIANT; k++, count++) {
            snprintf(names[count], sizeof(names[0]), "%s, %s: %s", models[i / 3], builds[i % 3],
                     per[k].name);
            tests[count] = (struct CMUnitTest){.name = names[count],
                                               .test_func = per[k].run,
                                               .teardown_func = put_away,
                                               .initial_state = &variants[i]};
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(fault_rows); i++)
        tests[count++] = (struct CMUnitTest){.name = fault_rows[i].name,
                                             .test_func = phone_faults,
                                             .teardown_func = put_away,
                                             .initial_state = (void *)(uintptr_t)&fault_rows[i]};
    tests[count++] = (struct CMUnitTest){
        .name = "both sizes", .test_func = both_sizes, .teardown_func = put_away};
    tests[count++] =
        (struct CMUnitTest){.name = "every case was met", .test_func = every_case_was_met};
    return _cmocka_run_group_tests("matrix", tests, count, up, down);
}
