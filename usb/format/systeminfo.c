#include "usb/format/systeminfo.h"

#include <ctype.h>
#include <string.h>

/* P: capital or digit, 9: digit, X: digit or capital, A: capital, anything else: itself */
static const char shape[] = "PPP-9999-X-99AA-A99";

static bool fits(const uint8_t *p)
{
    for (size_t i = 0; shape[i]; i++) {
        int c = p[i];
        bool digit = c >= '0' && c <= '9', capital = c >= 'A' && c <= 'Z';
        bool ok = shape[i] == '9'   ? digit
                  : shape[i] == 'A' ? capital
                  : shape[i] == '-' ? c == '-'
                                    : digit || capital;
        if (!ok)
            return false;
    }
    return true;
}

static void take(const uint8_t *p, struct fw_version *out)
{
    *out = (struct fw_version){.sku = (char)p[9]};
    memcpy(out->text, p, sizeof(shape) - 1);
    memcpy(out->project, p, 3);
    memcpy(out->number, p + 4, 4);
    memcpy(out->region, p + 11, 4);
    memcpy(out->branch, p + 16, 3);
}

int fw_version_parse(const char *text, struct fw_version *out, struct err *err)
{
    if (strlen(text) != sizeof(shape) - 1 || !fits((const uint8_t *)text))
        return err_set(err, ERR_FORMAT, "'%.40s' is not a version like PDA-1100-0-00WW-B01", text);
    take((const uint8_t *)text, out);
    return 0;
}

int fw_version_find(struct span in, struct fw_version *out, struct err *err)
{
    for (size_t i = 0; i + sizeof(shape) - 1 <= in.len; i++) {
        if (fits(in.data + i)) {
            take(in.data + i, out);
            return 0;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "no firmware version there");
}

int systeminfo_decode(struct span head, struct fw_version *out, struct err *err)
{
    enum { NEAR_BYTES = 64 };
    const uint8_t *tag = head.len ? memmem(head.data, head.len, "MLF", 3) : NULL;
    if (tag &&
        fw_version_find(span_sub(head, (size_t)(tag - head.data), NEAR_BYTES), out, NULL) == 0)
        return 0;
    return fw_version_find(head, out, err);
}

void systeminfo_encode(const char *version, struct buf *out)
{
    buf_put(out, "MLF=", 4);
    buf_put(out, version, strlen(version));
    buf_put_u8(out, '\n');
}
