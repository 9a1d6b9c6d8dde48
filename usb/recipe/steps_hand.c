/* steps_hand.c: where a person or the phone itself has the word: first start and acceptance. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/clock.h"
#include "usb/format/serial.h"
#include "usb/recipe/internal.h"

enum { DAY_S = 86400, ASK_SOON_MS = 20000 };

static int let_start(struct session *s, struct err *err)
{
    const struct xflash_shutdown how = DA_SHUTDOWN_REBOOT;
    int rc = da_shutdown(&s->da, &how, err);
    if (rc == 0)
        session_wait_gone(s);
    return rc;
}

int action_boot(struct session *s, const struct recipe_step *step, struct err *err)
{
    const struct session_host *h = &s->host;
    bool in_agent = s->da_up;
    int rc = session_check_releasable(s, err);
    if (rc == 0)
        rc = session_started(s, PHONE_INTENT, err);
    if (rc == 0 && in_agent)
        rc = let_start(s, err);
    if (rc < 0)
        return rc;
    char serial[64] = "";
    int64_t until = clock_in((int64_t)step->timeout_s * 1000);
    /* a phone that a run before let start may have been switched off since: a person is asked at once */
    int64_t hand = clock_in(in_agent ? (int64_t)step->hand_after_s * 1000 : ASK_SOON_MS);
    rc = h->seen(h->arg, "android", hand, serial, sizeof(serial), err);
    if (rc == ERR_TIMEOUT) {
        h->prompt(h->arg, s->title, step->id, step->prompt_text, step->prompt_todo, "usb");
        rc = h->seen(h->arg, "android", until, serial, sizeof(serial), err);
        h->prompt(h->arg, s->title, NULL, "", "", "");
    }
    if (rc < 0)
        return rc == ERR_TIMEOUT ? failed(s, "E3", err) : rc;
    h->facts(h->arg, json_pack("{s:s, s:s}", "mode", "android", "usb_serial", serial));
    if (serial[0] && strcmp(serial, s->plan->serial) != 0)
        return fail(s, "E9", err, ERR_MISMATCH, "the phone started as %.40s, the label says %s",
                    serial, s->plan->serial);
    s->serial_on_usb = serial[0] != '\0';
    return session_started(s, PHONE_SENT, err);
}

static const char *text_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static bool mac_ok(const char *mac)
{
    int pairs = 0, nonzero = 0;
    for (const char *p = mac; *p; p++) {
        if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1]))
            return false;
        nonzero |= p[0] != '0' || p[1] != '0';
        pairs++;
        p += 2;
        if (*p == '\0')
            break;
        if (*p != ':')
            return false;
    }
    return pairs == 6 && nonzero;
}

static bool shows(json_t *list, const char *imei)
{
    size_t i;
    json_t *shown;
    json_array_foreach(list, i, shown)
    {
        if (strcmp(json_string_value(shown), imei) == 0)
            return true;
    }
    return false;
}

/* As many as the label has: in its order. An order may name fewer than the phone has SIM slots: each of them must be there. */
static int check_imeis(const struct session *s, json_t *list, char *why, size_t size)
{
    char reason[200];
    size_t count = json_array_size(list), named = s->plan->imei_count;
    if (count == 0)
        return snprintf(why, size, "the IMEIs are missing: dial *#06# on the phone");
    if (count < named)
        return snprintf(why, size, "the label has %zu IMEIs, the phone shows %zu", named, count);
    for (size_t i = 0; i < count; i++) {
        const char *imei = json_string_value(json_array_get(list, i));
        if (!imei || imei_check(imei, reason, sizeof(reason)) != IMEI_VALID)
            return snprintf(why, size, "IMEI %zu: %s", i + 1, imei ? reason : "missing");
        if (count == named && strcmp(imei, s->plan->imeis[i]) != 0)
            return snprintf(why, size, "IMEI %zu is %s on the phone and %s on the label", i + 1,
                            imei, s->plan->imeis[i]);
    }
    for (size_t i = 0; i < named; i++)
        if (!shows(list, s->plan->imeis[i]))
            return snprintf(why, size,
                            "IMEI %s of the label is none of the %zu that the phone shows",
                            s->plan->imeis[i], count);
    return 0;
}

static void note_unnamed_imeis(struct session *s)
{
    size_t count = json_array_size(json_object_get(s->accepted, "imeis"));
    if (s->plan->imei_count && count > s->plan->imei_count)
        note(s, "warn",
             "the order names %zu of the %zu IMEIs that the phone shows: compare the rest with the "
             "label",
             s->plan->imei_count, count);
}

/* 0 when everything a person read equals the label; else `why` says what does not. */
static int check_values(const struct session *s, json_t *values, char *why, size_t size)
{
    const char *serial = text_of(values, "serial");
    int at = 0;
    if (!json_is_object(values))
        return snprintf(why, size,
                        "serial, IMEIs and MAC addresses are needed as the phone shows them");
    if (serial_compare(serial, s->plan->serial, &at) == SERIAL_CONFUSABLE)
        return snprintf(why, size,
                        "the serial differs from the label's at place %d by look-alikes (O and "
                        "0, I and 1, S and 5, B and 8): scan it once more",
                        at + 1);
    if (strcmp(serial, s->plan->serial) != 0)
        return snprintf(why, size, "the phone shows serial '%.40s', the label says %s", serial,
                        s->plan->serial);
    int n = check_imeis(s, json_object_get(values, "imeis"), why, size);
    if (n)
        return n;
    static const char *const macs[] = {"wlan_mac", "bt_mac"};
    for (size_t i = 0; i < 2; i++)
        if (text_of(values, macs[i])[0] && !mac_ok(text_of(values, macs[i])))
            return snprintf(why, size, "%s '%.40s' is no MAC address", macs[i],
                            text_of(values, macs[i]));
    return 0;
}

/* A person's numbers that do not fit are asked for again: a slip of the hand ends no job, only "abort" does. */
static int ask_person(struct session *s, const struct recipe_step *step, struct err *err)
{
    const struct session_host *h = &s->host;
    int64_t until = clock_in((int64_t)(step->timeout_s ? step->timeout_s : DAY_S) * 1000);
    char text[RECIPE_TEXT_MAX], noted[RECIPE_TEXT_MAX] = "", id[RECIPE_NAME_MAX + 12], answer[16];
    snprintf(text, sizeof(text), "%s", step->prompt_text);
    for (int round = 1;; round++) {
        json_t *values = NULL;
        snprintf(id, sizeof(id), "%s-%d", step->id, round);
        h->prompt(h->arg, s->title, id, text, step->prompt_todo, "person");
        int rc = h->answer(h->arg, id, until, answer, sizeof(answer), &values, err);
        h->prompt(h->arg, s->title, NULL, "", "", "");
        if (rc < 0)
            return rc;
        if (strcmp(answer, "abort") == 0) {
            json_decref(values);
            return fail(s, "E9", err, ERR_MISMATCH,
                        "a person found that the phone's numbers are not "
                        "those of the label%s%s",
                        round > 1 ? ": " : "", round > 1 ? text : "");
        }
        if (check_values(s, values, text, sizeof(text)) == 0) {
            s->accepted = values;
            note_unnamed_imeis(s);
            return 0;
        }
        if (strcmp(text, noted) != 0) /* once, however often it is sent again */
            note(s, "warn", "acceptance: %s", text);
        memcpy(noted, text, sizeof(noted));
        json_decref(values);
    }
}

int action_accept(struct session *s, const struct recipe_step *step, struct err *err)
{
    bool by_usb = strcmp(s->plan->accept, "usb") == 0;
    if (session_check_releasable(s, err) < 0)
        return err->code;
    if (by_usb && !s->serial_on_usb)
        note(s, "warn", "the phone shows no serial on USB: a person has to compare the numbers");
    if (by_usb && s->serial_on_usb) {
        /* the start has compared the serial that Android shows on USB */
        s->accepted = json_pack("{s:s, s:s}", "by", "usb", "serial", s->plan->serial);
    } else {
        int rc = ask_person(s, step, err);
        if (rc < 0)
            return rc;
        json_object_set_new(s->accepted, "by", json_string("person"));
    }
    return session_started(s, PHONE_VERIFIED, err);
}
