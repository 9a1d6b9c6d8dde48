#include "usb/worker/exported.h"

#include <jansson.h>
#include <string.h>

#include "usb/base/mem.h"
#include "usb/format/dump.h"
#include "usb/format/firmware.h"
#include "usb/wire/wire.h"

static const char sums_name[] = "SHA256SUMS";
static const char manifest_name[] = "manifest.json";

const struct exported_image *exported_find(const struct exported *e, const char *name)
{
    for (size_t i = 0; i < e->count; i++)
        if (strcmp(e->images[i].name, name) == 0)
            return &e->images[i];
    return NULL;
}

/* Lines for other files than images of partitions are nobody's business. */
static int sum_take(struct exported *e, struct span line, struct err *err)
{
    struct checksum_line parsed;
    struct exported_image image = {0};
    uint32_t number;
    if (!checksum_line_parse(line, &parsed) || !sha256_parse(parsed.digest, &image.sha256))
        return err_set(err, ERR_FORMAT, "%s: '%.*s' is no line of sha256sum", sums_name,
                       (int)MIN_OF(line.len, (size_t)80), (const char *)line.data);
    if (!dump_file_partition(parsed.name, image.name, &number))
        return 0;
    if (e->count == ARRAY_LEN(e->images) || exported_find(e, image.name))
        return err_set(err, ERR_FORMAT, "%s names %s twice, or too many files", sums_name,
                       parsed.name);
    e->images[e->count++] = image;
    return 0;
}

static int sums_parse(struct exported *e, struct span text, struct err *err)
{
    int rc = 0;
    while (rc == 0 && text.len) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (len)
            rc = sum_take(e, span_sub(text, 0, len), err);
        text = span_sub(text, len + (end != NULL), text.len - len - (end != NULL));
    }
    return rc;
}

static int place_take(struct exported *e, json_t *partition, struct err *err)
{
    const char *name, *area, *hex;
    json_int_t offset, size;
    struct sha256 sha256;
    if (json_unpack(partition, "{s:s, s:s, s:s, s:I, s:I}", "name", &name, "area", &area, "sha256",
                    &hex, "offset", &offset, "size", &size) < 0 ||
        !sha256_parse(hex, &sha256) || offset < 0 || size < 0 ||
        (strcmp(area, "USER") != 0 && strcmp(area, "BOOT1") != 0 && strcmp(area, "BOOT2") != 0))
        return err_set(err, ERR_FORMAT, "%s: a partition lacks its name, area, place, size or hash",
                       manifest_name);
    struct exported_image *image = (struct exported_image *)(uintptr_t)exported_find(e, name);
    if (!image || !sha256_equal(&image->sha256, &sha256))
        return err_set(err, ERR_FORMAT, "%s and %s do not agree on %s.img", manifest_name,
                       sums_name, name);
    image->placed = true;
    image->offset_bytes = offset;
    image->size_bytes = size;
    WIRE_TEXT(image->area, area);
    return 0;
}

/* 4 bytes to 32. */
static int chip_take(struct exported *e, json_t *chip, struct err *err)
{
    uint8_t bytes[32];
    if (!chip || json_is_null(chip))
        return 0;
    const char *hex = json_string_value(chip);
    if (!hex || strspn(hex, "0123456789abcdef") != strlen(hex) ||
        hex_decode(hex, bytes, sizeof(bytes)) < 4)
        return err_set(err, ERR_FORMAT, "%s: its chip_id is no chip's", manifest_name);
    WIRE_TEXT(e->chip_id, hex);
    return 0;
}

static int manifest_parse(struct exported *e, struct span text, struct err *err)
{
    json_error_t why;
    json_auto_t *manifest = json_loadb((const char *)text.data, text.len, 0, &why);
    json_t *partitions = json_object_get(manifest, "partitions"), *partition;
    if (!manifest || !json_is_array(partitions))
        return err_set(err, ERR_FORMAT, "%s is not that of an exported backup: %s", manifest_name,
                       manifest ? "it has no partitions" : why.text);
    WIRE_TEXT(e->serial, json_string_value(json_object_get(manifest, "serial")));
    int rc = chip_take(e, json_object_get(manifest, "chip_id"), err);
    size_t i;
    json_array_foreach(partitions, i, partition)
    {
        rc = rc < 0 ? rc : place_take(e, partition, err);
    }
    return rc;
}

int exported_parse(struct span sums, struct span manifest, struct exported *out, struct err *err)
{
    *out = (struct exported){.has_sums = sums.data != NULL, .has_manifest = manifest.data != NULL};
    if (out->has_manifest && !out->has_sums) /* which an export writes last */
        return err_set(err, ERR_FORMAT, "%s is there and %s is not: the export is not whole",
                       manifest_name, sums_name);
    int rc = sums_parse(out, sums, err);
    return rc < 0 || !out->has_manifest ? rc : manifest_parse(out, manifest, err);
}
