#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "tests/phone/identity.h"
#include "tests/phone/slots.h"
#include "usb/base/mem.h"

/* Android as far as a repair bench sees it: it boots, puts its NV files in order, and shows on its
 * screen what it found on its flash. tests/phone/README.md, "Android". */

enum {
    BOOT_MS = 2000, /* constructed, and much less than a real first boot */
    MARK_BYTES = 4096,
};

struct android {
    struct board *b;
    struct flash_table table;
    struct para para;
    char slot;
    char serial[IDENTITY_SERIAL_MAX + 1];
    struct nv_values nv;
    bool nv_known;     /* values come from a container or from whole NV files */
    bool sim_service;  /* both SIM lock files are whole and made for this chip */
    char baseband[64]; /* empty: unknown */
};

/* The used part of a small file system, in memory that the caller frees. */
static struct span file_system_read(struct android *a, const char *name, uint8_t **memory)
{
    *memory = xcalloc(1, NV_FILE_SYSTEM_MAX);
    const struct partition *p = table_find(&a->table, name, 0);
    if (partition_read(a->b, p, *memory, NV_FILE_SYSTEM_MAX) < 0)
        return (struct span){NULL, 0};
    return span_of(*memory, (size_t)MIN_OF((uint64_t)NV_FILE_SYSTEM_MAX, p->size_bytes));
}

/* The whole NV container, empty when nvram holds none that is whole. */
static struct span container_read(struct android *a, uint8_t **memory, struct sha256 *stamp)
{
    const struct partition *p = table_find(&a->table, "nvram", 0);
    uint8_t head[64];
    size_t len = 0;
    if (partition_read(a->b, p, head, sizeof(head)) == BOARD_OK)
        len = nvram_container_bytes(span_of(head, sizeof(head)), p->size_bytes);
    *memory = xcalloc(1, len + 1);
    if (len == 0 || partition_read(a->b, p, *memory, len) < 0 ||
        !nvram_read(span_of(*memory, len), &a->nv, stamp))
        return (struct span){NULL, 0};
    return span_of(*memory, len);
}

static void nvdata_write(struct android *a, struct span container)
{
    const struct partition *p = table_find(&a->table, "nvdata", 0);
    AUTO(buf_deinit) struct buf image;
    buf_init(&image, NV_FILE_SYSTEM_MAX);
    if (!p || nvdata_build(container, p->size_bytes, board_chip(a->b), &image, NULL) < 0)
        return;
    board_trace(a->b, "android: nvdata built %s", container.len ? "from nvram" : "from defaults");
    board_flash_write(a->b, AREA_USER, p->start_bytes, image.data, image.len);
    board_flash_zero(a->b, AREA_USER, p->start_bytes + image.len, p->size_bytes - image.len);
}

/* The NV daemon: files in nvdata that were not made from this container are made anew; without a
 * container whole files are good enough; without both the phone gets defaults and no numbers. */
static void nv_settle(struct android *a)
{
    struct sha256 container_stamp = {{0}}, files_stamp = {{0}};
    struct nv_values files;
    AUTO(free_ptr) uint8_t *container_memory = NULL;
    AUTO(free_ptr) uint8_t *files_memory = NULL;
    struct span container = container_read(a, &container_memory, &container_stamp);
    struct span image = file_system_read(a, "nvdata", &files_memory);
    bool files_whole = nvdata_read(image, &files, &files_stamp);
    if (container.len) {
        a->nv_known = true;
        if (!files_whole || !sha256_equal(&container_stamp, &files_stamp))
            nvdata_write(a, container);
    } else if (files_whole) {
        a->nv = files;
        a->nv_known = files.imei_known;
    } else {
        memset(&a->nv, 0, sizeof(a->nv));
        nvdata_write(a, container);
    }
}

/* The modem needs its image, its configuration and NV. */
static void modem_start(struct android *a)
{
    uint8_t head[1024];
    AUTO(free_ptr) uint8_t *nvcfg = NULL;
    AUTO(free_ptr) uint8_t *protect1 = NULL;
    AUTO(free_ptr) uint8_t *protect2 = NULL;
    const struct board_chip *chip = board_chip(a->b);
    if (!a->nv_known || !nvcfg_valid(file_system_read(a, "nvcfg", &nvcfg)))
        return;
    partition_read(a->b, table_find(&a->table, "md1img", a->slot), head, sizeof(head));
    baseband_version(span_of(head, sizeof(head)), a->baseband);
    a->sim_service = protect_valid(file_system_read(a, "protect1", &protect1), chip) &&
                     protect_valid(file_system_read(a, "protect2", &protect2), chip);
}

/* A radio without an address of its own makes one up at each start. */
static void radio_start(struct android *a)
{
    if (!a->nv.wifi_known && getrandom(a->nv.wlan_mac, 6, 0) == 6)
        a->nv.wlan_mac[0] = 0x02;
    if (!a->nv.bt_known && getrandom(a->nv.bt_mac, 6, 0) == 6)
        a->nv.bt_mac[0] = 0x02;
}

/* What a boot leaves behind besides nvdata: the slot is known to work, userdata was opened. */
static void boot_mark(struct android *a)
{
    const struct partition *userdata = table_find(&a->table, "userdata", 0);
    static const char mark[] = "opened by Android\n";
    a->para.slots[a->slot == 'b'].successful = true;
    a->para.slots[a->slot == 'b'].tries_left = 0;
    slots_write(a->b, &a->table, &a->para);
    if (userdata && userdata->size_bytes >= MARK_BYTES)
        board_flash_write(a->b, AREA_USER,
                          userdata->start_bytes + userdata->size_bytes - MARK_BYTES, mark,
                          sizeof(mark));
}

static json_t *mac_json(const uint8_t mac[6])
{
    return json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                        mac[5]);
}

/* Firmware numbers begin with the generation of their Android: PDA-1100, PDA-2.., PDA-3.. */
static const char *android_of(const char *version)
{
    static const char *const releases[] = {"8.1", "9", "10"};
    const char *digit = strchr(version, '-');
    return digit && digit[1] >= '1' && digit[1] <= '3' ? releases[digit[1] - '1'] : "?";
}

/* *#06#, About, the Wi-Fi list. */
static void screen_show(struct android *a)
{
    uint8_t head[1024];
    char version[40];
    partition_read(a->b, table_find(&a->table, "systeminfo", a->slot), head, sizeof(head));
    systeminfo_version(span_of(head, sizeof(head)), version);
    json_t *imeis = json_array();
    for (int i = 0; i < 2 && a->baseband[0] && a->nv.imei_known; i++)
        json_array_append_new(imeis, json_string(a->nv.imei[i]));
    json_t *screen = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:b, s:s, s:s}", "state", "android", "serial",
        a->serial, "imeis", imeis, "wlan_mac", mac_json(a->nv.wlan_mac), "bt_mac",
        mac_json(a->nv.bt_mac), "baseband", a->baseband[0] ? json_string(a->baseband) : json_null(),
        "wifi_warning", !a->nv.wifi_known, "service", a->sim_service, "version", version, "android",
        android_of(version));
    char *text = screen ? json_dumps(screen, JSON_COMPACT) : NULL;
    if (text)
        board_screen_set(a->b, text);
    free(text);
    json_decref(screen);
}

/* ---- USB: file transfer and debugging, as HMD's phones show them
 * --------------------------------------- */

static const uint8_t device_desc[18] = {18,   1,    0x00, 0x02, 0,    0, 0, 64, 0x04,
                                        0x2E, 0x26, 0xC0, 0x23, 0x02, 1, 2, 3,  1};
static const uint8_t config_desc[] =
    {
        9,    2,    62,   0,    2,    1,    0, 0x80, 250, 9,    4, 0,    0,    3,    0x06,
        0x01, 0x01, 4, /* still image: MTP */
        7,    5,    0x81, 2,    0x00, 0x02, 0, 7,    5,   0x01, 2, 0x00, 0x02, 0,    7,
        5,    0x82, 3,    0x1C, 0x00, 6,    9, 4,    1,   0,    2, 0xFF, 0x42, 0x01, 5, /* adb */
        7,    5,    0x83, 2,    0x00, 0x02, 0, 7,    5,   0x02, 2, 0x00, 0x02, 0,
};

/* Runs until the power goes; comes and goes on the bus with the cable, and talks to nobody. */
static void usb_serve(struct android *a)
{
    const char *strings[] = {"HMD Global", "Nokia X5", a->serial, "MTP", "ADB Interface"};
    struct gadget gadget = {
        .speed = 3,
        .device_desc = device_desc,
        .config_desc = config_desc,
        .config_len = sizeof(config_desc),
        .strings = strings,
        .string_count = ARRAY_LEN(strings),
        .ep_in = 0x81,
        .ep_out = 0x01,
        .packet = 512,
    };
    uint8_t packet[512];
    while (board_wait_cable(a->b, true, -1) == BOARD_OK) {
        if (board_usb_attach(a->b, &gadget) < 0)
            continue;
        while (board_usb_configured(a->b, -1) >= 0)
            while (board_out_packet(a->b, packet, -1) >= 0)
                ;
        board_usb_detach(a->b);
    }
}

static void boot(struct android *a)
{
    uint8_t head[64];
    slots_read(a->b, &a->table, &a->para);
    a->slot = para_active_slot(&a->para);
    if (!a->slot)
        a->slot = 'a';
    partition_read(a->b, table_find(&a->table, "proinfo", 0), head, sizeof(head));
    proinfo_serial_read(span_of(head, sizeof(head)), a->serial);
    nv_settle(a);
    modem_start(a);
    radio_start(a);
    boot_mark(a);
    screen_show(a);
}

enum board_next android_run(struct board *b)
{
    struct android *a = xcalloc(1, sizeof(*a));
    a->b = b;
    /* LK has checked that the slot is whole (slots.h) before it handed over. */
    if (table_read(b, &a->table) == BOARD_OK && board_sleep(b, BOOT_MS, false) == BOARD_OK) {
        boot(a);
        usb_serve(a);
    }
    free(a);
    return NEXT_OFF;
}
