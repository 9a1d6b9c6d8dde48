/* report.c: what is proven about a closed job: the signed manifest as JSON, and as a page for paper. The page says in
 * words what was written, what was verified and whether the phone was seen starting: three different things. It
 * needs nothing from anywhere, so that a saved copy reads the same. */
#include "server/api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/plan/failure.h"

/* No script, no image, nothing from elsewhere; the one style sheet stands in the page. */
#define PAGE_POLICY                                                                                \
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "         \
    "frame-ancestors 'none'"

static const char page_head[] =
    "<style>\n"
    "body{font:11pt/1.45 sans-serif;color:#000;background:#fff;max-width:48em;margin:2em auto;"
    "padding:0 1em}\n"
    "h1{font-size:1.5em;margin:0 0 .2em}h2{font-size:1.1em;margin:1.6em 0 .4em}\n"
    "table{border-collapse:collapse;width:100%}th,td{border:1px solid #777;padding:.25em "
    ".5em;text-align:left;vertical-align:top}\n"
    "code{font:9pt monospace;overflow-wrap:anywhere}ul{padding-left:1.2em}\n"
    "@media print{body{margin:0;max-width:none}tr,h2{break-inside:avoid}h2{break-after:avoid}}\n"
    "</style>\n";

/* ---- HTML ------------------------------------------------------------------------------------------- */

static void put_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

static const char *text_in(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool is_true(json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static void put_value(FILE *out, json_t *value)
{
    if (json_is_integer(value))
        fprintf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        fputs(json_is_true(value) ? "yes" : "no", out);
    else if (json_is_string(value))
        put_text(out, json_string_value(value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        fputs(i ? ", " : "", out);
        put_value(out, json_array_get(value, i));
    }
}

/* A fact that is not known has no row. */
static void fact(FILE *out, const char *name, json_t *value)
{
    if (!value || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0) ||
        (json_is_string(value) && json_string_length(value) == 0))
        return;
    fprintf(out, "<tr><th scope=\"row\">%s</th><td>", name);
    put_value(out, value);
    fputs("</td></tr>\n", out);
}

/* ---- in words --------------------------------------------------------------------------------------- */

static void say_written(FILE *out, json_t *writes)
{
    size_t i, verified = 0, count = json_array_size(writes);
    long long bytes = 0;
    json_t *write;
    json_array_foreach(writes, i, write)
    {
        bytes += json_integer_value(json_object_get(write, "bytes"));
        verified += is_true(write, "verified");
    }
    if (count == 0) {
        fputs("<li><b>Written:</b> nothing that the station knows of.</li>\n", out);
        return;
    }
    fprintf(out, "<li><b>Written:</b> %zu images, %lld bytes.</li>\n", count, bytes);
    fprintf(out, "<li><b>Verified</b> (read back from the phone, and equal): %zu of %zu.%s</li>\n",
            verified, count, verified == count ? "" : " The others are not proven.");
}

/* A job that ended without a worker's word still has its journal. */
static void say_journal(FILE *out, json_t *journal)
{
    static const struct {
        const char *phase, *words;
    } phases[] = {{"intent", "may be half written"},
                  {"sent", "written, not read back"},
                  {"verified", "written and verified"},
                  {"differs", "read back differently"}};
    size_t i;
    json_t *extent;
    json_array_foreach(journal, i, extent)
    {
        if (!text_in(extent, "partition")[0])
            continue; /* a start, no bytes */
        fputs("<li>", out);
        put_text(out, text_in(extent, "partition"));
        for (size_t k = 0; k < ARRAY_LEN(phases); k++)
            if (strcmp(phases[k].phase, text_in(extent, "phase")) == 0)
                fprintf(out, ": %s", phases[k].words);
        fputs(".</li>\n", out);
    }
}

static const char *booted_words(const char *phone_state)
{
    if (strcmp(phone_state, "restored") == 0 || strcmp(phone_state, "booted") == 0)
        return "Android was seen starting on this phone.";
    if (strcmp(phone_state, "untouched") == 0)
        return "not tried; nothing was changed.";
    return "not seen.";
}

static void say_accepted(FILE *out, json_t *accepted)
{
    const char *by = text_in(accepted, "by");
    if (!by[0])
        fputs("not done.", out);
    else if (strcmp(by, "usb") == 0)
        fputs("the serial that Android shows on USB is the label's.", out);
    else
        fputs("a person read the numbers on the phone; the serial is the label's, and so is every "
              "IMEI that the order names.",
              out);
}

static void put_words(FILE *out, json_t *manifest)
{
    fputs("<h2>What is proven</h2>\n<ul>\n", out);
    size_t i;
    json_t *backup, *backups = json_object_get(manifest, "pre_images");
    json_array_foreach(backups, i, backup)
    {
        fprintf(
            out, "<li><b>Saved before:</b> %zu partitions, each read twice and equal, %s.</li>\n",
            json_array_size(json_object_get(backup, "partitions")),
            is_true(backup, "complete") ? "the whole identity set" : "not the whole identity set");
    }
    say_written(out, json_object_get(manifest, "written"));
    if (json_array_size(json_object_get(manifest, "written")) == 0)
        say_journal(out, json_object_get(manifest, "journal"));
    fprintf(out, "<li><b>Booted:</b> %s</li>\n<li><b>Accepted:</b> ",
            booted_words(text_in(manifest, "phone_state")));
    say_accepted(out, json_object_get(manifest, "accepted"));
    fputs("</li>\n<li><b>State of the phone:</b> ", out);
    for (const char *p = text_in(manifest, "phone_state"); *p; p++) /* words joined by _ */
        put_text(out, (char[]){*p == '_' ? ' ' : *p, '\0'});
    fputs("</li>\n</ul>\n", out);
}

/* ---- the page --------------------------------------------------------------------------------------- */

static void put_job(FILE *out, json_t *manifest)
{
    json_t *job = json_object_get(manifest, "job"), *phone = json_object_get(manifest, "phone");
    json_t *recipe = json_object_get(manifest, "recipe");
    json_t *firmware = json_object_get(manifest, "firmware");
    json_t *error = json_object_get(job, "error");
    fputs("<table>\n", out);
    fact(out, "Serial", json_object_get(job, "serial"));
    fact(out, "IMEIs", json_object_get(job, "imeis"));
    fact(out, "Chip", json_object_get(phone, "chip_id"));
    fact(out, "Port", json_object_get(job, "port"));
    fact(out, "Owner's reference", json_object_get(job, "owner_ref"));
    fact(out, "Client's reference", json_object_get(job, "client_ref"));
    fact(out, "Recipe", json_object_get(recipe, "name"));
    fact(out, "Recipe version", json_object_get(recipe, "version"));
    fact(out, "Recipe's SHA-256", json_object_get(recipe, "sha256"));
    fact(out, "Firmware", json_object_get(firmware, "version"));
    fact(out, "Firmware on the phone before", json_object_get(manifest, "phone_version"));
    fact(out, "Ordered", json_object_get(job, "created_at"));
    fact(out, "Started", json_object_get(job, "started_at"));
    fact(out, "Ended", json_object_get(job, "ended_at"));
    fact(out, "Why it ended so", json_object_get(error, "message"));
    if (failure_cause_of(error))
        fact(out, "Likely cause", json_object_get(error, "cause"));
    fact(out, "Advice", json_object_get(error, "advice"));
    fputs("</table>\n", out);
}

static void put_cells(FILE *out, json_t *row, const char *const *names)
{
    fputs("<tr>", out);
    for (; *names; names++) {
        bool hash = strcmp(*names, "sha256") == 0;
        fputs(hash ? "<td><code>" : "<td>", out);
        put_value(out, json_object_get(row, *names));
        fputs(hash ? "</code></td>" : "</td>", out);
    }
    fputs("</tr>\n", out);
}

/* `heads` is HTML of ours; nothing when there are no rows. */
static void put_table(FILE *out, const char *title, const char *heads, json_t *rows,
                      const char *const *names)
{
    if (json_array_size(rows) == 0)
        return;
    fprintf(out, "<h2>%s</h2>\n<table>\n<tr>%s</tr>\n", title, heads);
    for (size_t i = 0; i < json_array_size(rows); i++)
        put_cells(out, json_array_get(rows, i), names);
    fputs("</table>\n", out);
}

static void put_tables(FILE *out, json_t *manifest)
{
    static const char *const written[] = {"step", "partition", "bytes", "verified", "sha256", NULL};
    static const char *const saved[] = {"name", "size", "plausible", "sha256", NULL};
    static const char *const attempts[] = {"name",       "attempt",  "state",
                                           "started_at", "ended_at", NULL};
    put_table(out, "Written",
              "<th>Step</th><th>Partition</th><th>Bytes</th><th>Verified</th><th>SHA-256</th>",
              json_object_get(manifest, "written"), written);
    size_t i;
    json_t *backup;
    json_array_foreach(json_object_get(manifest, "pre_images"), i, backup) put_table(
        out, "Saved before", "<th>Partition</th><th>Bytes</th><th>Plausible</th><th>SHA-256</th>",
        json_object_get(backup, "partitions"), saved);
    put_table(out, "Steps",
              "<th>Step</th><th>Attempt</th><th>Outcome</th><th>Started</th><th>Ended</th>",
              json_object_get(manifest, "attempts"), attempts);
}

static void put_proof(FILE *out, json_t *report)
{
    json_t *manifest = json_object_get(report, "manifest");
    fputs("<h2>Signature</h2>\n<p>This page shows report number ", out);
    put_value(out, json_object_get(manifest, "sequence"));
    fputs(" of the station with the fingerprint <code>", out);
    put_text(out, text_in(manifest, "station"));
    fputs("</code>. Its document has the SHA-256 <code>", out);
    put_text(out, text_in(report, "manifest_sha256"));
    fputs("</code>. The document is signed, this page is not: <code>flashrack report get ", out);
    put_text(out, text_in(json_object_get(manifest, "job"), "id"));
    fputs(" -o FILE</code> fetches it, <code>flashrack report verify FILE</code> checks it "
          "anywhere.</p>\n",
          out);
}

static char *page_of(json_t *report)
{
    json_t *manifest = json_object_get(report, "manifest"), *job = json_object_get(manifest, "job");
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        abort(); /* no memory */
    fputs("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Job ", out);
    put_text(out, text_in(job, "id"));
    fprintf(out, "</title>\n%s<h1>Job ", page_head);
    put_text(out, text_in(job, "id"));
    fputs(": ", out);
    put_text(out, text_in(job, "state"));
    fputs("</h1>\n", out);
    put_job(out, manifest);
    put_words(out, manifest);
    put_tables(out, manifest);
    put_proof(out, report);
    fputs("</html>\n", out);
    fclose(out);
    return text;
}

static void on_page(void *arg, int code, const struct err *err, json_t *body)
{
    struct ask *q = arg;
    if (code < 0) {
        ask_refuse(q, err, NULL);
    } else {
        AUTO(free_ptr) char *page = page_of(body);
        http_reply_header(q->call, "Content-Security-Policy", PAGE_POLICY);
        http_reply_text(q->call, 200, "text/html; charset=utf-8", page);
    }
    ask_free(q);
}

/* ---- routes ----------------------------------------------------------------------------------------- */

static void report_page(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_job_report(a->store, store_id(http_param(call, "id")), on_page,
                     ask_new(a, call, 200, NULL));
}

static void report_json(struct http_call *call, void *arg)
{
    struct api *a = arg;
    store_job_report(a->store, store_id(http_param(call, "id")), ask_done,
                     ask_new(a, call, 200, NULL));
}

static void reports_list(struct http_call *call, void *arg)
{
    static const char *const names[] = {API_PAGE_NAMES, NULL};
    struct api *a = arg;
    struct err err;
    struct store_page page;
    if (api_page(call, names, &page, &err) < 0)
        http_reply_err(call, &err, NULL);
    else
        store_report_list(a->store, &page, ask_done, ask_new(a, call, 200, NULL));
}

static void station_key(struct http_call *call, void *arg)
{
    struct api *a = arg;
    struct sign_key key = store_sign_key(a->store);
    struct sha256 fingerprint = sign_fingerprint(&key);
    char key_hex[2 * SIGN_KEY_BYTES + 1], fingerprint_hex[SHA256_HEX_BYTES];
    hex_encode(span_of(key.bytes, sizeof(key.bytes)), key_hex);
    sha256_hex(&fingerprint, fingerprint_hex);
    json_t *body = json_pack("{s:s, s:s, s:s}", "algorithm", "Ed25519", "public_key", key_hex,
                             "fingerprint", fingerprint_hex);
    http_reply_json(call, 200, body);
    json_decref(body);
}

static const struct http_route routes[] = {
    {"GET", API_BASE "/jobs/{id}/report", report_page, 0, 0},
    {"GET", API_BASE "/jobs/{id}/report.json", report_json, 0, 0},
    {"GET", API_BASE "/reports", reports_list, 0, 0},
    {"GET", API_BASE "/station/key", station_key, 0, 0},
};
const struct api_routes api_report_routes = {routes, ARRAY_LEN(routes)};
