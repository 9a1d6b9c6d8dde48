/* problem.c: RFC 9457 problem documents. `type` leads to web/problems.html, where each ERR_* is
 * explained; a test keeps the two in step. `code` is its name, too, or a more exact one of the failure catalogue. */
#include "server/http/internal.h"

#include <string.h>

#include "usb/base/log.h"
#include "usb/base/mem.h"

struct explained {
    int code;
    const char *title, *advice;
};

static const struct explained explanations[] = {
    {ERR_TIMEOUT, "No answer in time", "Look at the current state first, then try again."},
    {ERR_GONE, "The phone or program went away", "Plug the phone in again and retry."},
    {ERR_IO, "The system failed", "Look at the station's log; check disk space and cables."},
    {ERR_REFUSED, "Refused", "The reason says what is in the way; nothing was changed."},
    {ERR_PROTOCOL, "The other side broke the protocol",
     "Unplug the phone, wait, plug it in again."},
    {ERR_FORMAT, "The file is not what it should be",
     "Check that it is complete and the right one."},
    {ERR_LIMIT, "Too large", "Send less at once, or a smaller file."},
    {ERR_INPUT, "The request does not fit", "Correct the field that is named and send it again."},
    {ERR_NOT_FOUND, "Not found", "Check the id; lists show what there is."},
    {ERR_CONFLICT, "Does not fit the current state",
     "Look at the current state, then decide again."},
    {ERR_MISMATCH, "Two things that must agree do not",
     "Check the serial, phone, backup and firmware."},
    {ERR_AUTH_NEEDED, "The phone asks for authentication",
     "Use a firmware package that holds its owner's auth file, or authorised service."},
    {ERR_DISK, "The station's disk failed or is full", "Make room in the data folder, then retry."},
    {ERR_STORAGE, "The phone's flash failed", "Do not start the phone; take it out for repair."},
    {ERR_VERIFY, "Read back differs from what was sent",
     "Try once more with another cable and port."},
    {ERR_CANCELLED, "Cancelled", "Start a new job when you are ready."},
    {ERR_UNSUPPORTED, "Not supported", "This station or phone cannot do that."},
    {ERR_DEAD, "The phone must be plugged in again",
     "Pull the cable, wait ten seconds, plug it in."},
    {ERR_INTERNAL, "A bug in the station", "Keep the station's log and report it."},
};

static const struct explained *explained_of(int code)
{
    for (size_t i = 0; i < ARRAY_LEN(explanations); i++)
        if (explanations[i].code == code)
            return &explanations[i];
    return explained_of(ERR_INTERNAL);
}

static void problem_send(struct http_call *call, int status, const char *kind, const char *code,
                         const char *title, const char *detail, const char *advice)
{
    AUTO(free_ptr) char *type = xasprintf("/problems.html#%s", kind);
    json_t *doc =
        json_pack("{s:s, s:s, s:i, s:s%, s:s, s:s}", "type", type, "title", title, "status", status,
                  "detail", detail, strlen(detail), "code", code, "advice", advice);
    AUTO(free_ptr) char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
    json_decref(doc);
    if (!text) /* the sentence was not UTF-8; say the rest all the same */
        text = xasprintf("{\"type\":\"%s\",\"title\":\"%s\",\"status\":%d,\"detail\":\"\","
                         "\"code\":\"%s\",\"advice\":\"\"}",
                         type, title, status, code);
    http_reply_text(call, status, "application/problem+json", text);
}

void http_reply_problem(struct http_call *call, int status, const char *code, const char *detail,
                        const char *advice)
{
    problem_send(call, status, code, code, "Not accepted", detail, advice);
}

void http_reply_err(struct http_call *call, const struct err *err, const char *advice)
{
    http_reply_failure(call, err, NULL, advice);
}

void http_reply_failure(struct http_call *call, const struct err *err, const char *failure,
                        const char *advice)
{
    int code = err->code < 0 ? err->code : ERR_INTERNAL;
    const struct explained *e = explained_of(code);
    if (err_http_status(code) >= 500 && call->req)
        log_line(LOG_WARN, "http",
                 LOG_KV({"method", call_method(call)}, {"path", evhttp_request_get_uri(call->req)},
                        {"err", err_name(code)}),
                 "%s", err->text);
    problem_send(call, err_http_status(code), err_name(code), failure ? failure : err_name(code),
                 e->title, err->text[0] ? err->text : e->title, advice ? advice : e->advice);
}
