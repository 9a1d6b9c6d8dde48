#include "tests/phone/factory.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/phone/firmware.h"
#include "tests/phone/identity.h"
#include "tests/phone/layout.h"
#include "tests/phone/preloader_image.h"
#include "usb/base/io.h"
#include "usb/base/mem.h"
#include "usb/format/para.h"

#define PHONE_FILE "phone.json"
enum { VERSION_BYTES = 40 }; /* of a firmware version, with the zero */

static const char *const profile_names[PROFILE_COUNT] = {[PROFILE_MINI] = "mini",
                                                         [PROFILE_TINY] = "tiny",
                                                         [PROFILE_FULL] = "full",
                                                         [PROFILE_MINI64] = "mini64",
                                                         [PROFILE_FULL64] = "full64"};

const char *factory_profile_name(enum factory_profile profile)
{
    return profile_names[profile];
}

int factory_profile_parse(const char *name, enum factory_profile *out, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(profile_names); i++)
        if (strcmp(name, profile_names[i]) == 0) {
            *out = (enum factory_profile)i;
            return 0;
        }
    return err_set(err, ERR_INPUT, "no profile '%s': tiny, mini, mini64, full or full64", name);
}

int factory_version_check(const char *version, struct err *err)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t len = strlen(version);
    if (len < 5 || len >= VERSION_BYTES || version[strspn(version, letters)] ||
        strncmp(version, "PDA-", 4) != 0)
        return err_set(err, ERR_INPUT, "'%s' is no firmware version such as " FACTORY_VERSION, version);
    return 0;
}

int factory_tac_check(const char *tac, struct err *err)
{
    if (strlen(tac) != 8 || strspn(tac, "0123456789") != 8)
        return err_set(err, ERR_INPUT, "'%s' is no type code of eight digits", tac);
    return 0;
}

/* The vendor's images, made once a process: every phone of a rack gets the same. */
static int firmware_shared(enum factory_profile profile, const char *version,
                           const struct firmware **out, struct err *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct firmware *made[8];
    int rc = 0;
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < ARRAY_LEN(made) - 1 && made[i] &&
           (made[i]->profile != profile || strcmp(made[i]->version, version) != 0))
        i++;
    if (made[i] && (made[i]->profile != profile || strcmp(made[i]->version, version) != 0))
        rc = err_set(err, ERR_LIMIT, "too many firmware versions in one process");
    else if (!made[i])
        rc = firmware_new(profile, version, &made[i], err);
    *out = made[i];
    pthread_mutex_unlock(&lock);
    return rc;
}

/* ---- the eMMC
 * ---------------------------------------------------------------------------------------- */

struct emmc {
    int dir, user, boot1, boot2;
};

static void emmc_close(struct emmc *e)
{
    fd_close(&e->user);
    fd_close(&e->boot1);
    fd_close(&e->boot2);
    fd_close(&e->dir);
}

static int area_open(int dir, const char *name, int flags, struct err *err)
{
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0644);
    return fd < 0 ? err_sys(err, ERR_IO, "open %s", name) : fd;
}

static int emmc_open(const char *dir, int flags, struct emmc *e, struct err *err)
{
    e->user = e->boot1 = e->boot2 = -1;
    e->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->dir < 0)
        return err_sys(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "open %s", dir);
    if ((e->user = area_open(e->dir, "user.img", flags, err)) < 0 ||
        (e->boot1 = area_open(e->dir, "boot1.img", flags, err)) < 0 ||
        (e->boot2 = area_open(e->dir, "boot2.img", flags, err)) < 0)
        return err_in(err, "%s", dir);
    return 0;
}

/* All zero, as an erased area reads. */
static int area_erase(int fd, uint64_t bytes, struct err *err)
{
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)bytes) < 0)
        return err_sys(err, ERR_IO, "erase");
    return 0;
}

static int partition_erase(int fd, const struct partition *p, struct err *err)
{
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)p->start_bytes,
                  (off_t)p->size_bytes) == 0)
        return 0;
    uint8_t *zeros = xcalloc(1, 1 << 16);
    int rc = 0;
    for (uint64_t at = 0; at < p->size_bytes && rc >= 0; at += 1 << 16)
        rc = io_pwrite(fd, zeros, (size_t)MIN_OF(p->size_bytes - at, (uint64_t)1 << 16),
                       (int64_t)(p->start_bytes + at), err);
    free_ptr(&zeros);
    return rc;
}

static int table_write(int user, const struct layout *l, struct err *err)
{
    uint8_t head[GPT_HEAD_BYTES], tail[GPT_TAIL_BYTES];
    layout_gpt_head(l, head);
    layout_gpt_tail(l, tail);
    int rc = io_pwrite(user, head, sizeof(head), 0, err);
    return rc < 0
               ? rc
               : io_pwrite(user, tail, sizeof(tail), (int64_t)(l->user_bytes - sizeof(tail)), err);
}

static int preloader_write(int boot, const struct firmware *f, struct err *err)
{
    uint8_t header[BOOT_HEADER_BYTES];
    preloader_boot_header((uint32_t)f->preloader.len, header);
    int rc = io_pwrite(boot, header, sizeof(header), 0, err);
    return rc < 0 ? rc
                  : io_pwrite(boot, f->preloader.data, f->preloader.len, BOOT_HEADER_BYTES, err);
}

/* The images of a package into one slot; what has no slot goes with slot a. */
static int slot_write(int user, const struct layout *l, const struct firmware *f, char slot,
                      struct err *err)
{
    for (size_t i = 0; i < f->count; i++) {
        const struct firmware_image *image = &f->images[i];
        char name[40];
        if (!image->slotted && slot != 'a')
            continue;
        snprintf(name, sizeof(name), image->slotted ? "%s_%c" : "%s", image->partition, slot);
        const struct partition *p = layout_find(l, name);
        int rc = firmware_image_write(image, user, p->start_bytes, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Tables, preloaders and slot a on erased areas: what "Format + Download" writes. */
static int download_all(const struct emmc *e, const struct layout *l, const struct firmware *f,
                        struct err *err)
{
    int rc;
    if ((rc = area_erase(e->user, l->user_bytes, err)) < 0 ||
        (rc = area_erase(e->boot1, l->boot_bytes, err)) < 0 ||
        (rc = area_erase(e->boot2, l->boot_bytes, err)) < 0 ||
        (rc = table_write(e->user, l, err)) < 0 || (rc = preloader_write(e->boot1, f, err)) < 0 ||
        (rc = preloader_write(e->boot2, f, err)) < 0)
        return rc;
    return slot_write(e->user, l, f, 'a', err);
}

/* ---- the identity on it
 * ------------------------------------------------------------------------------ */

static int para_write(int user, const struct layout *l, char slot, struct err *err)
{
    bool b = slot == 'b';
    struct para para = {.slots = {{b ? 14 : 15, 0, true}, {b ? 15 : 0, 0, b}}};
    AUTO(buf_deinit) struct buf raw;
    buf_init(&raw, PARA_SLOT_BYTES);
    para_encode(&para, &raw);
    uint64_t at = layout_find(l, "para")->start_bytes + PARA_SLOT_OFFSET_BYTES;
    return io_pwrite(user, raw.data, raw.len, (int64_t)at, err);
}

static int identity_write(int user, const struct layout *l, const struct factory_phone *phone,
                          struct err *err)
{
    AUTO(buf_deinit) struct buf content;
    buf_init(&content, 64 << 20);
    for (size_t i = 0; i < LAYOUT_PARTITIONS; i++) {
        const struct partition *p = &l->parts[i];
        buf_clear(&content);
        int rc = identity_build(phone, p->name, &content, err);
        if (rc < 0 || content.len > p->size_bytes)
            return rc < 0 ? err_in(err, "%s", p->name)
                          : err_set(err, ERR_INTERNAL, "%s: contents do not fit", p->name);
        /* the image of userdata stands at the start; what its owner did, behind it */
        uint64_t at = strcmp(p->name, "userdata") == 0 ? p->size_bytes / 2 / 4096 * 4096 : 0;
        rc = io_pwrite(user, content.data, content.len, (int64_t)(p->start_bytes + at), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- phone.json
 * -------------------------------------------------------------------------------------- */

static json_t *hex_json(const uint8_t *data, size_t len)
{
    char text[129];
    hex_encode(span_of(data, len), text);
    return json_string(text);
}

static json_t *phone_json(const struct factory_phone *p, const char *version)
{
    return json_pack(
        "{s:s, s:s, s:{s:o, s:o, s:o}, s:{s:I, s:I, s:I}, s:{s:s, s:[s, s], s:s, s:s}}", "profile",
        factory_profile_name(p->profile), "version", version, "chip", "me_id",
        hex_json(p->chip.me_id, sizeof(p->chip.me_id)), "soc_id",
        hex_json(p->chip.soc_id, sizeof(p->chip.soc_id)), "emmc_cid",
        hex_json(p->chip.emmc_cid, sizeof(p->chip.emmc_cid)), "areas", "user_bytes",
        (json_int_t)p->user_bytes, "boot_bytes", (json_int_t)p->boot_bytes, "rpmb_bytes",
        (json_int_t)p->rpmb_bytes, "label", "serial", p->label.serial, "imeis", p->label.imei[0],
        p->label.imei[1], "wlan_mac", p->label.wlan_mac, "bt_mac", p->label.bt_mac);
}

static void json_free(json_t **j)
{
    json_decref(*j);
    *j = NULL;
}

/* Written last and renamed into place: a folder with a phone.json holds a whole phone. */
static int phone_save(int dir, const struct factory_phone *p, const char *version, struct err *err)
{
    AUTO(json_free) json_t *json = phone_json(p, version);
    AUTO(free_ptr) char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    if (!text)
        return err_set(err, ERR_INTERNAL, "phone.json cannot be written");
    AUTO(fd_close) int fd = area_open(dir, PHONE_FILE ".new", O_CREAT | O_TRUNC, err);
    if (fd < 0)
        return fd;
    int rc = io_write(fd, text, strlen(text), err);
    if (rc >= 0 && renameat(dir, PHONE_FILE ".new", dir, PHONE_FILE) < 0)
        rc = err_sys(err, ERR_IO, "rename " PHONE_FILE);
    return rc;
}

static bool hex_take(const char *text, uint8_t *out, size_t len)
{
    return hex_decode(text, out, len) == (ptrdiff_t)len;
}

static bool text_take(const char *text, char *out, size_t size)
{
    return snprintf(out, size, "%s", text) < (int)size;
}

static int phone_parse(json_t *json, struct factory_phone *p, char version[VERSION_BYTES], struct err *err)
{
    const char *profile, *version_text, *me_id, *soc_id, *cid, *serial, *imei[2], *wlan, *bt;
    json_int_t user, boot, rpmb;
    if (json_unpack(json,
                    "{s:s, s:s, s:{s:s, s:s, s:s}, s:{s:I, s:I, s:I}, s:{s:s, s:[s, s], s:s, s:s}}",
                    "profile", &profile, "version", &version_text, "chip", "me_id", &me_id,
                    "soc_id", &soc_id, "emmc_cid", &cid, "areas", "user_bytes", &user, "boot_bytes",
                    &boot, "rpmb_bytes", &rpmb, "label", "serial", &serial, "imeis", &imei[0],
                    &imei[1], "wlan_mac", &wlan, "bt_mac", &bt) < 0 ||
        factory_profile_parse(profile, &p->profile, err) < 0 || user <= 0 || boot <= 0 || rpmb <= 0)
        return err_set(err, ERR_FORMAT, PHONE_FILE ": a field is missing or wrong");
    p->user_bytes = (uint64_t)user;
    p->boot_bytes = (uint64_t)boot;
    p->rpmb_bytes = (uint64_t)rpmb;
    if (!hex_take(me_id, p->chip.me_id, sizeof(p->chip.me_id)) ||
        !hex_take(soc_id, p->chip.soc_id, sizeof(p->chip.soc_id)) ||
        !hex_take(cid, p->chip.emmc_cid, sizeof(p->chip.emmc_cid)) ||
        !text_take(version_text, version, VERSION_BYTES) ||
        !text_take(serial, p->label.serial, sizeof(p->label.serial)) ||
        !text_take(imei[0], p->label.imei[0], sizeof(p->label.imei[0])) ||
        !text_take(imei[1], p->label.imei[1], sizeof(p->label.imei[1])) ||
        !text_take(wlan, p->label.wlan_mac, sizeof(p->label.wlan_mac)) ||
        !text_take(bt, p->label.bt_mac, sizeof(p->label.bt_mac)))
        return err_set(err, ERR_FORMAT, PHONE_FILE ": an id or label is malformed");
    return 0;
}

static int phone_load(const char *dir, struct factory_phone *out, char version[VERSION_BYTES], struct err *err)
{
    AUTO(free_ptr) char *path = xasprintf("%s/" PHONE_FILE, dir);
    if (access(path, F_OK) < 0)
        return err_set(err, ERR_NOT_FOUND, "no phone in %s", dir);
    json_error_t json_err;
    AUTO(json_free) json_t *json = json_load_file(path, JSON_REJECT_DUPLICATES, &json_err);
    if (!json)
        return err_set(err, ERR_FORMAT, "%s line %d: %s", path, json_err.line, json_err.text);
    struct factory_phone phone = {0};
    int rc = phone_parse(json, &phone, version, err);
    if (rc >= 0)
        *out = phone;
    return rc;
}

int factory_load_phone(const char *dir, struct factory_phone *out, struct err *err)
{
    char version[VERSION_BYTES];
    return phone_load(dir, out, version, err);
}

/* ---- making and losing
 * ------------------------------------------------------------------------------- */

static int rpmb_make(int dir, uint64_t bytes, struct err *err)
{
    AUTO(fd_close) int fd = area_open(dir, "rpmb.img", O_CREAT | O_TRUNC, err);
    return fd < 0 ? fd : area_erase(fd, bytes, err);
}

static int phone_write(const struct emmc *e, const struct factory_order *order,
                       const struct factory_phone *phone, const char *version, struct err *err)
{
    const struct layout *l = layout_of(order->profile);
    const struct firmware *f;
    int rc;
    if ((rc = firmware_shared(order->profile, version, &f, err)) < 0 ||
        (rc = rpmb_make(e->dir, l->rpmb_bytes, err)) < 0 || (rc = download_all(e, l, f, err)) < 0 ||
        (rc = identity_write(e->user, l, phone, err)) < 0 ||
        (rc = para_write(e->user, l, order->slot, err)) < 0)
        return rc;
    if (order->slot == 'b' && (rc = slot_write(e->user, l, f, 'b', err)) < 0)
        return rc;
    return phone_save(e->dir, phone, version, err);
}

int factory_make_phone(const char *dir, const struct factory_order *order, struct err *err)
{
    const struct layout *l = layout_of(order->profile);
    struct factory_phone phone = {.profile = order->profile,
                                  .user_bytes = l->user_bytes,
                                  .boot_bytes = l->boot_bytes,
                                  .rpmb_bytes = l->rpmb_bytes};
    AUTO(free_ptr) char *there = xasprintf("%s/" PHONE_FILE, dir);
    if (access(there, F_OK) == 0)
        return err_set(err, ERR_CONFLICT, "there is a phone in %s already", dir);
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return err_sys(err, ERR_IO, "make %s", dir);
    identity_derive(order->seed, order->index, &phone);
    if (order->tac)
        identity_tac_set(&phone, order->tac);
    AUTO(emmc_close) struct emmc e;
    int rc = emmc_open(dir, O_CREAT, &e, err);
    return rc < 0 ? rc
                  : phone_write(&e, order, &phone,
                                order->version ? order->version : FACTORY_VERSION, err);
}

static int identity_erase(const struct emmc *e, const struct layout *l, struct err *err)
{
    static const char *const lost[] = {"nvram",    "nvdata",   "nvcfg", "proinfo",
                                       "protect1", "protect2", "elabel"};
    for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
        int rc = partition_erase(e->user, layout_find(l, lost[i]), err);
        if (rc < 0)
            return err_in(err, "%s", lost[i]);
    }
    return 0;
}

int factory_lose_identity(const char *dir, enum factory_loss loss, struct err *err)
{
    struct factory_phone phone;
    char version[VERSION_BYTES];
    int rc = phone_load(dir, &phone, version, err);
    if (rc < 0)
        return rc;
    const struct layout *l = layout_of(phone.profile);
    AUTO(emmc_close) struct emmc e;
    const struct firmware *f;
    if ((rc = emmc_open(dir, 0, &e, err)) < 0)
        return rc;
    if (loss == LOSS_IDENTITY_ONLY)
        return identity_erase(&e, l, err);
    rc = firmware_shared(phone.profile, version, &f, err);
    return rc < 0 ? rc : download_all(&e, l, f, err);
}

/* ---- read-back
 * --------------------------------------------------------------------------------------- */

static int range_copy(int from, int to, off_t at, off_t end, struct err *err)
{
    enum { PIECE = 1 << 20 };
    AUTO(free_ptr) uint8_t *piece = xcalloc(1, PIECE);
    for (; at < end; at += PIECE) {
        size_t len = (size_t)MIN_OF(end - at, (off_t)PIECE);
        int rc = io_pread(from, piece, len, at, err);
        if (rc < 0 || (rc = io_pwrite(to, piece, len, at, err)) < 0)
            return rc;
    }
    return 0;
}

/* Copies what holds data; holes stay holes. */
static int sparse_copy(int from, int to, off_t bytes, struct err *err)
{
    for (off_t at = 0; at < bytes;) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return err_sys(err, ERR_IO, "look for data");
        int rc = range_copy(from, to, data, MIN_OF(hole, bytes), err);
        if (rc < 0)
            return rc;
        at = hole;
    }
    if (ftruncate(to, bytes) < 0)
        return err_sys(err, ERR_IO, "set the length of the dump");
    return 0;
}

int factory_copy(const char *from, const char *to, uint64_t bytes, struct err *err)
{
    AUTO(fd_close) int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return err_sys(err, ERR_NOT_FOUND, "open %s", from);
    int64_t size = io_size(in, err);
    if (size < 0)
        return (int)size;
    AUTO(fd_close) int out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0)
        return err_sys(err, ERR_IO, "create %s", to);
    bool all = bytes == 0 || bytes > (uint64_t)size;
    return sparse_copy(in, out, all ? (off_t)size : (off_t)bytes, err);
}

int factory_read_back(const char *dir, const char *path, uint64_t bytes, struct err *err)
{
    struct factory_phone phone;
    int rc = factory_load_phone(dir, &phone, err);
    AUTO(free_ptr) char *user = xasprintf("%s/user.img", dir);
    return rc < 0 ? rc : factory_copy(user, path, bytes, err);
}
