/* steps_fastboot.c: the stage in which the service LK writes what the download agent should not. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/serial.h"
#include "usb/recipe/internal.h"

enum { ALIVE_PAUSE_MS = 2000, QUERY_MS = 5000, HALT_MS = 5000 };

static const char *failure_of(enum fastboot_fail fail)
{
    switch (fail) {
    case FASTBOOT_FAIL_AUTH_MISSING:
        return "D10";
    case FASTBOOT_FAIL_LOCKED:
    case FASTBOOT_FAIL_POLICY:
    case FASTBOOT_FAIL_SECURE:
        return "D11";
    case FASTBOOT_FAIL_SIZE:
        return "D12";
    case FASTBOOT_FAIL_BATTERY:
        return "D13";
    case FASTBOOT_FAIL_LINK:
        return "D14";
    case FASTBOOT_FAIL_NO_PART:
        return "D15";
    case FASTBOOT_FAIL_UNSUPPORTED:
        return "D7";
    default:
        return "";
    }
}

/* Values that are good to know; none of them decides. */
static void record_variables(struct session *s)
{
    static const char *const names[] = {"product", "unlocked", "current-slot", "max-download-size",
                                        "battery-voltage"};
    json_t *facts = json_object();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char value[FASTBOOT_RESPONSE_MAX];
        if (fb_getvar(&s->fb, names[i], value, NULL) == 0)
            json_object_set_new(facts, names[i], json_string(value));
    }
    s->host.facts(s->host.arg, facts);
}

/* The serial that LK has read. Where it does not know the variable, its USB descriptor shows the same one. */
static int read_serial(struct session *s, char serial[FASTBOOT_RESPONSE_MAX], struct err *err)
{
    int rc = fb_getvar(&s->fb, "serialno", serial, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (!s->identity.serial[0])
        return fail(s, "D18", err, ERR_NOT_FOUND,
                    "the bootloader tells its serial neither when asked nor in its USB descriptor");
    note(s, "warn", "%s; taking the serial of the USB descriptor", err->text);
    err_clear(err);
    snprintf(serial, FASTBOOT_RESPONSE_MAX, "%s", s->identity.serial);
    return 0;
}

static int check_serial(struct session *s, struct err *err)
{
    char serial[FASTBOOT_RESPONSE_MAX];
    int rc = read_serial(s, serial, err);
    if (rc < 0)
        return rc;
    if (strcmp(serial, SERIAL_LK_DEFAULT) == 0)
        return fail(s, "D4", err, ERR_MISMATCH,
                    "the phone reports the placeholder serial %s: its "
                    "proinfo was not restored",
                    serial);
    rc = gate_see_fastboot_serial(s->gate, serial, err);
    return rc < 0 ? failed(s, "D6", err) : 0;
}

static int check_bootloader(struct session *s, struct err *err)
{
    AUTO(fb_reply_deinit) struct fb_reply reply;
    fb_reply_init(&reply);
    int rc = fb_oem(&s->fb, "getBootloaderType", QUERY_MS, &reply, err);
    if (rc < 0)
        return failed(s, "D5", err);
    if (!fb_reply_has(&reply, "service"))
        return fail(s, "D5", err, ERR_REFUSED,
                    "the commercial bootloader is running, not the service "
                    "one: the other slot is active");
    char version[FASTBOOT_RESPONSE_MAX];
    fb_reply_deinit(&reply);
    fb_reply_init(&reply);
    if (fb_oem(&s->fb, "getversions", QUERY_MS, &reply, NULL) == 0 &&
        fb_reply_value(&reply, "software version", version) &&
        strncmp(version, s->plan->recipe.project, strlen(s->plan->recipe.project)) != 0)
        return fail(s, "B3", err, ERR_MISMATCH,
                    "the phone's software is '%.40s', not of project %s", version,
                    s->plan->recipe.project);
    return 0;
}

static int check_sizes(struct session *s, struct err *err)
{
    for (size_t i = 0; i < s->plan->write_count; i++) {
        const struct plan_write *w = &s->plan->writes[i];
        const struct recipe_step *step = recipe_step_find(&s->plan->recipe, w->step);
        uint64_t bytes;
        if (!step || strcmp(step->action, "fastboot_flash") != 0 ||
            fb_partition_bytes(&s->fb, w->partition, &bytes, NULL) < 0)
            continue;
        if (bytes != w->partition_bytes && !w->optional)
            return fail(s, "D12", err, ERR_MISMATCH,
                        "%s has %llu bytes on the phone and %llu in the "
                        "plan",
                        w->partition, (unsigned long long)bytes,
                        (unsigned long long)w->partition_bytes);
    }
    return 0;
}

int action_fastboot_check(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    (void)fb_oem(&s->fb, "alive", QUERY_MS, NULL, NULL); /* some LKs do not know it: no matter */
    int rc = s->host.sleep(s->host.arg, ALIVE_PAUSE_MS, err);
    if (rc == 0)
        rc = check_serial(s, err);
    if (rc == 0)
        rc = check_bootloader(s, err);
    if (rc == 0)
        rc = check_sizes(s, err);
    if (rc == 0)
        record_variables(s);
    return rc;
}

static int send_code(struct session *s, bool upper, struct fb_reply *reply, struct err *err)
{
    char code[MD5_HEX_BYTES], argument[64];
    serial_dm_verity_code(s->plan->serial, code);
    if (!upper)
        for (char *p = code; *p; p++)
            *p = (char)tolower((unsigned char)*p);
    snprintf(argument, sizeof(argument), "dm-verity %s", code);
    return fb_oem(&s->fb, argument, QUERY_MS, reply, err);
}

/* Bootloaders of these security versions ask a question whose answer only the vendor's server knows. */
static bool wants_challenge(struct session *s)
{
    AUTO(fb_reply_deinit) struct fb_reply reply;
    fb_reply_init(&reply);
    return fb_oem(&s->fb, "getSecurityVersion", QUERY_MS, &reply, NULL) == 0 &&
           (fb_reply_has(&reply, "0004") || fb_reply_has(&reply, "0008"));
}

/* The phone said no to the code, for the reason that `failure` names or because it wants a challenge. */
static int not_authorised(struct session *s, const char *failure, struct err *err)
{
    if (!wants_challenge(s))
        return failed(s, failure, err);
    return fail(s, "D9", err, ERR_AUTH_NEEDED,
                "the bootloader's security version wants an answer that only the vendor can give");
}

/* Opens the permission of this bootloader session. Some builds are said to take the digits in lower case. */
int action_fastboot_authorise(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    AUTO(fb_reply_deinit) struct fb_reply reply;
    fb_reply_init(&reply);
    int rc = send_code(s, true, &reply, err);
    if (rc >= 0 || rc == ERR_GONE || rc == ERR_DEAD || rc == ERR_TIMEOUT)
        return rc < 0 ? rc : 0;
    if (fastboot_fail_classify(reply.okay) == FASTBOOT_FAIL_UNSUPPORTED)
        return not_authorised(s, "D7", err);
    rc = send_code(s, false, NULL, err);
    return rc < 0 ? not_authorised(s, "D8", err) : 0;
}

/* The phone says that it lacks what it was seen to have: the command was mangled on its way. */
static bool cannot_be(const struct session *s, const struct plan_write *w, enum fastboot_fail why)
{
    struct extent e;
    return why == FASTBOOT_FAIL_UNSUPPORTED ||
           (why == FASTBOOT_FAIL_NO_PART && gpt_lookup(&s->gpt, w->partition, &e, NULL) == 0);
}

/* "target device is locked" means that the permission is gone: it is asked for once more, never more; so is an
 * answer that cannot be. */
static int flash_with_permission(struct session *s, size_t index, struct err *err)
{
    int rc = session_write(s, index, true, err);
    if (rc >= 0)
        return rc;
    enum fastboot_fail why = fastboot_fail_classify(err->text);
    if (why == FASTBOOT_FAIL_AUTH_MISSING) {
        note(s, "warn", "%s; authorising once more", err->text);
        rc = send_code(s, true, NULL, err);
    } else if (cannot_be(s, &s->plan->writes[index], why)) {
        note(s, "warn", "%s; saying it once more", err->text);
        rc = 0;
    }
    return rc < 0 ? rc : session_write(s, index, true, err);
}

int action_fastboot_flash(struct session *s, const struct recipe_step *step, struct err *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->plan->write_count; i++)
        if (write_applies(s, &s->plan->writes[i], step->id))
            total += s->plan->writes[i].partition_bytes;
    if (total == 0 && step->optional) {
        err_set(err, 0, "the backup has none that could be restored");
        return ACTION_SKIPPED;
    }
    progress_begin(s, total);
    for (size_t i = 0; i < s->plan->write_count; i++) {
        if (!write_applies(s, &s->plan->writes[i], step->id) || s->writes[i].verified)
            continue; /* as in action_write(): the survey has read it there */
        int rc = flash_with_permission(s, i, err);
        if (rc < 0)
            return s->failure[0] ? rc
                                 : failed(s, failure_of(fastboot_fail_classify(err->text)), err);
    }
    return 0;
}

/* Never reboot or continue here: Android would start on half-restored data with the service LK in place. */
int action_fastboot_halt(struct session *s, const struct recipe_step *step, struct err *err)
{
    (void)step;
    int rc = fb_oem(&s->fb, "HALT", HALT_MS, NULL, err);
    session_close_device(s);
    if (rc < 0 && rc != ERR_GONE && rc != ERR_TIMEOUT)
        return rc;
    err_clear(err); /* silence is an answer, too: the phone is off as soon as it is unplugged */
    return 0;
}
