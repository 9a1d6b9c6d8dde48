#include "usb/codec/fastboot.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "usb/base/mem.h"

static bool printable(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] > 0x7e)
            return false;
    return true;
}

int fastboot_command_decode(struct span in, struct fastboot_command *out, struct err *err)
{
    if (in.len == 0 || in.len > FASTBOOT_COMMAND_MAX || !printable(in))
        return err_set(err, ERR_PROTOCOL, "fastboot command of %zu bytes is no text", in.len);
    struct fastboot_command msg = {0};
    memcpy(msg.text, in.data, in.len);
    const char *separator = strpbrk(msg.text, ": ");
    size_t verb_len = separator ? (size_t)(separator - msg.text) : in.len;
    memcpy(msg.verb, msg.text, verb_len);
    if (separator)
        memcpy(msg.argument, separator + 1, in.len - verb_len - 1);
    *out = msg;
    return 0;
}

int fastboot_command_encode(const char *verb, const char *argument, struct buf *out,
                            struct err *err)
{
    char text[FASTBOOT_COMMAND_MAX + 1];
    const char *separator = !argument ? "" : strcmp(verb, "oem") == 0 ? " " : ":";
    int n = snprintf(text, sizeof(text), "%s%s%s", verb, separator, argument ? argument : "");
    if (n <= 0 || n > FASTBOOT_COMMAND_MAX)
        return err_set(err, ERR_INPUT, "fastboot command '%.20s' of %d bytes: at most %d", verb, n,
                       FASTBOOT_COMMAND_MAX);
    if (!printable(span_of(text, (size_t)n)))
        return err_set(err, ERR_INPUT, "fastboot command '%.20s' with bytes that are no ASCII text",
                       verb);
    buf_put(out, text, (size_t)n);
    return 0;
}

int fastboot_download_encode(uint32_t size_bytes, struct buf *out, struct err *err)
{
    char digits[9];
    if (size_bytes == 0) /* LK would answer OKAY to flash without writing anything */
        return err_set(err, ERR_INPUT, "nothing to download");
    snprintf(digits, sizeof(digits), "%08x", size_bytes);
    return fastboot_command_encode("download", digits, out, err);
}

/* Hex digits of either case, the whole text, at most `digits_max`. */
static bool hex_all(const char *text, size_t digits_max, uint64_t *out)
{
    size_t len = strlen(text);
    if (len == 0 || len > digits_max || strspn(text, "0123456789abcdefABCDEF") != len)
        return false;
    *out = strtoull(text, NULL, 16);
    return true;
}

int fastboot_download_decode(const struct fastboot_command *command, uint32_t *size_bytes_out,
                             struct err *err)
{
    uint64_t size = 0;
    if (strcmp(command->verb, "download") != 0 || !hex_all(command->argument, 8, &size))
        return err_set(err, ERR_PROTOCOL, "'%s' is no download command", command->text);
    *size_bytes_out = (uint32_t)size;
    return 0;
}

static const char kinds[][5] = {
    [FASTBOOT_OKAY] = "OKAY", [FASTBOOT_FAIL] = "FAIL", [FASTBOOT_INFO] = "INFO",
    [FASTBOOT_TEXT] = "TEXT", [FASTBOOT_DATA] = "DATA",
};

/* Phones name themselves: what is not printable becomes '?'; blanks and line ends at the edges go.
 */
static void text_clean(struct span in, char *out)
{
    while (in.len && strchr(" \t\r\n", in.data[0]) && in.data[0])
        in = span_sub(in, 1, in.len);
    while (in.len && (in.data[in.len - 1] == 0 || strchr(" \t\r\n", in.data[in.len - 1])))
        in.len--;
    for (size_t i = 0; i < in.len; i++)
        *out++ = in.data[i] < 0x20 || in.data[i] > 0x7e ? '?' : (char)in.data[i];
    *out = '\0';
}

int fastboot_response_kind(struct span in)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds) && in.len >= FASTBOOT_KIND_BYTES; i++)
        if (memcmp(in.data, kinds[i], FASTBOOT_KIND_BYTES) == 0)
            return (int)i;
    return -1;
}

int fastboot_response_decode(struct span in, struct fastboot_response *out, struct err *err)
{
    if (in.len < FASTBOOT_KIND_BYTES || in.len > FASTBOOT_RESPONSE_MAX)
        return err_set(err, ERR_PROTOCOL, "fastboot response of %zu bytes", in.len);
    int kind = fastboot_response_kind(in);
    if (kind < 0)
        return err_set(err, ERR_PROTOCOL, "fastboot response %02x%02x%02x%02x is of no known kind",
                       in.data[0], in.data[1], in.data[2], in.data[3]);
    struct fastboot_response msg = {.kind = (enum fastboot_kind)kind};
    text_clean(span_sub(in, FASTBOOT_KIND_BYTES, in.len), msg.text);
    uint64_t size = 0;
    if (msg.kind == FASTBOOT_DATA && (strlen(msg.text) != 8 || !hex_all(msg.text, 8, &size)))
        return err_set(err, ERR_PROTOCOL, "fastboot DATA response '%s'", msg.text);
    msg.data_bytes = (uint32_t)size;
    *out = msg;
    return 0;
}

void fastboot_response_encode(const struct fastboot_response *msg, size_t text_max, struct buf *out)
{
    char text[FASTBOOT_RESPONSE_MAX + 1];
    if (msg->kind == FASTBOOT_DATA)
        snprintf(text, sizeof(text), "DATA%08x", msg->data_bytes);
    else
        snprintf(text, sizeof(text), "%s%s", kinds[msg->kind], msg->text);
    buf_put(out, text, MIN_OF(strlen(text), text_max));
}

/* The text without surrounding blanks; false when nothing or too much is left. */
static bool trim(const char *text, char out[32])
{
    text += strspn(text, " \t\r\n");
    size_t len = strlen(text);
    while (len && strchr(" \t\r\n", text[len - 1]))
        len--;
    if (len == 0 || len >= 32)
        return false;
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

int fastboot_hex_parse(const char *text, uint64_t *out, struct err *err)
{
    char word[32];
    if (trim(text, word) && hex_all(word + (strncasecmp(word, "0x", 2) == 0 ? 2 : 0), 16, out))
        return 0;
    return err_set(err, ERR_PROTOCOL, "'%.40s' is no hex number", text);
}

int fastboot_number_parse(const char *text, uint64_t *out, struct err *err)
{
    char word[32];
    if (!trim(text, word))
        return err_set(err, ERR_PROTOCOL, "'%.40s' is no number", text);
    if (strncasecmp(word, "0x", 2) == 0)
        return fastboot_hex_parse(word, out, err);
    if (strspn(word, "0123456789") != strlen(word) || strlen(word) > 19)
        return err_set(err, ERR_PROTOCOL, "'%.40s' is no number", text);
    *out = strtoull(word, NULL, 10);
    return 0;
}

/* First hit wins, so the order matters: "target device is locked" (permission was not opened in
 * this session) stands before the many texts of a locked bootloader. */
static const struct {
    const char *part;
    enum fastboot_fail fail;
} fail_texts[] = {
    {"target device is locked", FASTBOOT_FAIL_AUTH_MISSING},
    {"not allowed in locked state", FASTBOOT_FAIL_LOCKED},
    {"device not unlocked cannot flash or erase", FASTBOOT_FAIL_LOCKED},
    {"command not allowed", FASTBOOT_FAIL_LOCKED},
    {"not allowed when locked", FASTBOOT_FAIL_LOCKED},
    {"device is locked. cannot flash images", FASTBOOT_FAIL_LOCKED},
    {"bootloader is locked", FASTBOOT_FAIL_LOCKED},
    {"not supported in locked device", FASTBOOT_FAIL_LOCKED},
    {"partition flashing is not allowed", FASTBOOT_FAIL_LOCKED},
    {"restricted on locked hw", FASTBOOT_FAIL_LOCKED},
    {"download for partition '", FASTBOOT_FAIL_POLICY},
    {"failed to get download permission", FASTBOOT_FAIL_POLICY},
    {"format for partition '", FASTBOOT_FAIL_POLICY},
    {"failed to get format permission", FASTBOOT_FAIL_POLICY},
    {"controlled partitions", FASTBOOT_FAIL_POLICY},
    {"not support on security", FASTBOOT_FAIL_SECURE},
    {"unknown command", FASTBOOT_FAIL_UNSUPPORTED},
    {"unknown reason", FASTBOOT_FAIL_INTERNAL},
    {"unlock operation is not allowed", FASTBOOT_FAIL_UNLOCK_DENIED},
    {"flashing unlock is not allowed", FASTBOOT_FAIL_UNLOCK_DENIED},
    {"oem unlock is not allowed", FASTBOOT_FAIL_UNLOCK_DENIED},
    {"check 'allow oem unlock'", FASTBOOT_FAIL_UNLOCK_DENIED},
    {"unlock failed - err", FASTBOOT_FAIL_UNLOCK_DENIED},
    {"rsa_public_decrypt fail", FASTBOOT_FAIL_UNLOCK_DENIED},
    {"argument size is wrong", FASTBOOT_FAIL_BAD_ARG},
    {"low power, need battery charging", FASTBOOT_FAIL_BATTERY},
    {"data is too large", FASTBOOT_FAIL_SIZE},
    {"size too large", FASTBOOT_FAIL_SIZE},
    {"sparse image size span overflow", FASTBOOT_FAIL_SIZE},
    {"this partition doesn't exist", FASTBOOT_FAIL_NO_PART},
    {"artition table doesn't exist", FASTBOOT_FAIL_NO_PART},
    {"partition offset is wrong", FASTBOOT_FAIL_NO_PART},
    {"image is not a boot image", FASTBOOT_FAIL_BAD_IMAGE},
    {"flash write failure", FASTBOOT_FAIL_STORAGE},
    {"sparse image write failure", FASTBOOT_FAIL_STORAGE},
    {"erase error", FASTBOOT_FAIL_STORAGE},
    {"sparse ", FASTBOOT_FAIL_BAD_IMAGE},
    {"bogus chunk size", FASTBOOT_FAIL_BAD_IMAGE},
    {"unknown chunk type", FASTBOOT_FAIL_BAD_IMAGE},
    {"read usb error", FASTBOOT_FAIL_LINK},
    {"flash preloader is not permitted", FASTBOOT_FAIL_POLICY},
    {"not a valid preloader", FASTBOOT_FAIL_POLICY},
    {"getvar variable not found", FASTBOOT_FAIL_INFO},
    {"set slot", FASTBOOT_FAIL_BAD_ARG},
    {"command parameter is not allowed", FASTBOOT_FAIL_BAD_ARG},
    {"virtual partition write fail", FASTBOOT_FAIL_INTERNAL},
    {"failed to update gpt partition", FASTBOOT_FAIL_INTERNAL},
};

enum fastboot_fail fastboot_fail_classify(const char *text)
{
    for (size_t i = 0; i < ARRAY_LEN(fail_texts); i++)
        if (strcasestr(text, fail_texts[i].part))
            return fail_texts[i].fail;
    return FASTBOOT_FAIL_UNKNOWN;
}

static const struct {
    const char *name;
    int code;
    const char *advice;
} fails[] = {
    [FASTBOOT_FAIL_UNKNOWN] = {"UNKNOWN", ERR_REFUSED, "an answer we do not know; stop here"},
    [FASTBOOT_FAIL_AUTH_MISSING] = {"AUTH_MISSING", ERR_REFUSED,
                                    "flashing permission is not open: is the service LK running, "
                                    "was the dm-verity code of this "
                                    "phone's own serial sent since it started? Do not unlock"},
    [FASTBOOT_FAIL_LOCKED] =
        {"LOCKED", ERR_REFUSED,
         "the commercial LK is running, or the service LK is in the other slot: "
         "go back to the service LK step"},
    [FASTBOOT_FAIL_POLICY] = {"POLICY", ERR_REFUSED,
                              "this bootloader never lets this partition be written"},
    [FASTBOOT_FAIL_SECURE] = {"SECURE", ERR_REFUSED, "not available while secure boot is on"},
    [FASTBOOT_FAIL_UNSUPPORTED] = {"UNSUPPORTED", ERR_UNSUPPORTED,
                                   "this LK does not know the command: it is not the one expected"},
    [FASTBOOT_FAIL_INTERNAL] = {"INTERNAL", ERR_IO, "restart the bootloader and try once more"},
    [FASTBOOT_FAIL_UNLOCK_DENIED] = {"UNLOCK_DENIED", ERR_REFUSED,
                                     "unlocking is not part of this procedure"},
    [FASTBOOT_FAIL_BAD_ARG] = {"BAD_ARG", ERR_INPUT, "the phone takes no such argument"},
    [FASTBOOT_FAIL_BATTERY] = {"BATTERY", ERR_REFUSED,
                               "battery below 3.5 V: charge 30 minutes on a wall charger, switched "
                               "off, then repeat this step"},
    [FASTBOOT_FAIL_SIZE] = {"SIZE", ERR_LIMIT,
                            "larger than the phone takes: image of another model or layout; do not "
                            "trim it"},
    [FASTBOOT_FAIL_NO_PART] =
        {"NO_PART", ERR_NOT_FOUND,
         "the phone has no such partition; if many are missing, its partition "
         "table is damaged"},
    [FASTBOOT_FAIL_BAD_IMAGE] = {"BAD_IMAGE", ERR_FORMAT, "wrong or damaged image file"},
    [FASTBOOT_FAIL_STORAGE] = {"STORAGE", ERR_STORAGE,
                               "the phone could not write its flash: one retry, then service"},
    [FASTBOOT_FAIL_LINK] = {"LINK", ERR_DEAD, "re-plug the phone, other cable or port, no hub"},
    [FASTBOOT_FAIL_INFO] = {"INFO", ERR_NOT_FOUND, "the phone does not tell this"},
};

const char *fastboot_fail_name(enum fastboot_fail fail)
{
    return fails[fail].name;
}

const char *fastboot_fail_advice(enum fastboot_fail fail)
{
    return fails[fail].advice;
}

int fastboot_fail_err(const char *text, const char *what, struct err *err)
{
    enum fastboot_fail fail = fastboot_fail_classify(text);
    return err_set(err, fails[fail].code, "%s: phone says '%s' (%s): %s", what, text,
                   fails[fail].name, fails[fail].advice);
}
