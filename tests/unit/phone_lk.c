/* LK of the emulated phone: dialogues of a host with it, word for word. */
#include "phone_fake.h"

#include "tests/phone/firmware.h"
#include "tests/phone/identity.h"
#include "tests/phone/preloader_image.h"
#include "usb/base/hash.h"
#include "usb/format/sparse.h"

enum {
    SERVICE = 1,
    SECURE = 2,
    UNLOCKED = 4,
    LOW_BATTERY = 8,
    LOST_SERIAL = 16,
    SLOT_B = 32,
    LIES = 64
};

/* `script`: a command a line; "+4096 A" sends that many letters, "+nvram" an image of nvram's size,
 * "+empty" an empty packet, "@MD5" stands for the digest of the serial. `want`: responses, one a
 * line. */
struct row {
    const char *name;
    unsigned how;
    const char *script, *want;
    enum board_next next;
    const char *image; /* binary of "+image", in hex */
};

#define SERIAL_1 "PDAMXE31T5847874" /* of phone 1 of rack 1 */
#define CHALLENGE_1 "59B73C35446F6D84C1BF1C856CBD3A8D" /* MD5 of its chip id */
/* Blocks of 4096: skip 1, fill 1, and what is left of the image is the third one. */
#define SPARSE_IMAGE                                                                               \
    "3aff26ed 0100 0000 1c00 0c00 00100000 03000000 03000000 00000000"                             \
    "c3ca0000 01000000 0c000000 c2ca0000 01000000 10000000 efbeadde c1ca0000 01000000 0c100000"

static struct row rows[] = {
    {"reference transcript of the service build", SERVICE,
     "getvar:product\ngetvar:serialno\ngetvar:unlocked\ngetvar:current-slot\n"
     "getvar:partition-size:nvram\noem getBootloaderType\ndownload:00040000\n+nvram\nflash:nvram\n"
     "oem dm-verity @MD5\ndownload:00040000\n+nvram\nflash:nvram\noem HALT",
     "OKAYPDA\nOKAY" SERIAL_1 "\nOKAYno\nOKAYa\nOKAY40000\nINFOservice\nOKAY\nDATA00040000\nOKAY\n"
     "FAILtarget device is locked\nOKAY\nDATA00040000\nOKAY\nOKAY\nOKAY\n",
     NEXT_HALT, NULL},
    {"the commercial build refuses and does not know dm-verity", 0,
     "oem getBootloaderType\ndownload:00001000\n+4096 A\nflash:nvram\noem dm-verity "
     "@MD5\nerase:nvram\n"
     "boot",
     "INFOcommercial\nOKAY\nDATA00001000\nOKAY\nFAILnot allowed in locked state\nFAILunknown "
     "command\n"
     "FAILnot allowed in locked state\nFAILnot allowed in locked state\n",
     NEXT_OFF, NULL},
    {"digest: lower case is taken, other lengths and digests are not", SERVICE,
     "oem dm-verity 0123\noem dm-verity 00000000000000000000000000000000\noem dm-verity @md5",
     "FAILargument size is wrong\n\nFAILdm-verity verify failed\nOKAY\n", NEXT_OFF, NULL},
    {"lost serial", SERVICE | LOST_SERIAL, "getvar:serialno", "OKAY0123456789ABCDEF\n", NEXT_OFF,
     NULL},
    {"unknown names", 0, "getvar:nonsense\ngetvar\noem nonsense\nreboo",
     "FAILGetVar Variable Not found\nFAILunknown command\nFAILunknown command\nFAILunknown "
     "command\n",
     NEXT_OFF, NULL},
    {"variables", 0,
     "getvar:max-download-size\ngetvar:battery-voltage\ngetvar:has-slot:boot\ngetvar:has-slot:"
     "nvram\n"
     "getvar:slot-count\ngetvar:partition-type:nvdata\ngetvar:secure\ngetvar:variant",
     "OKAY0x8000000\nOKAY4000mV\nOKAYyes\nOKAYno\nOKAY2\nOKAYext4\nOKAYno\nOKAY\n", NEXT_OFF, NULL},
    {"a command longer than 64 bytes falls apart", 0,
     "getvar:version                                                    getvar:product",
     "FAILGetVar Variable Not found\nFAILunknown command\n", NEXT_OFF, NULL},
    {"an empty packet is an unknown command", 0, "+empty\ngetvar:kernel",
     "FAILunknown command\nOKAYlk\n", NEXT_OFF, NULL},
    {"too short a download ends the session", SERVICE, "download:00001000\n+100 A\ngetvar:product",
     "DATA00001000\nFAILRead USB error\n", NEXT_OFF, NULL},
    {"too long a download in one packet ends the session", SERVICE,
     "download:00000004\n+512 A\ngetvar:product", "DATA00000004\nFAILRead USB error\n", NEXT_OFF,
     NULL},
    {"a transfer that goes on behind the last packet ends the session", SERVICE,
     "download:00000200\n+600 A\ngetvar:product", "DATA00000200\nFAILRead USB error\n", NEXT_OFF,
     NULL},
    {"a download of many reads, the last one short of a packet", SERVICE,
     "download:00008064\n+32868 A\ngetvar:product", "DATA00008064\nOKAY\nOKAYPDA\n", NEXT_OFF,
     NULL},
    {"download limits", 0, "download:08000001", "FAILdata is too large\n", NEXT_OFF, NULL},
    {"battery", LOW_BATTERY, "download:00000010", "FAILlow power, need battery charging.\n",
     NEXT_OFF, NULL},
    {"secure boot", SECURE, "continue\nsignature\ngetvar:secure",
     "FAILnot support on security\nFAILnot support on security\nOKAYyes\n", NEXT_OFF, NULL},
    {"nothing downloaded, nothing written, and content", UNLOCKED, "flash:nvram", "OKAY\n",
     NEXT_OFF, NULL},
    {"unlocked, commercial: checks in LK's order", UNLOCKED,
     "getvar:unlocked\ndownload:00001000\n+4096 A\nflash:nonsense\nflash:boot\nflash:partition\n"
     "flash:preloader_a\nflash:seccfg\nflash:para\ndownload:00005000\n+20480 A\nflash:para\n"
     "erase:nvram\nerase:scp_a",
     "OKAYyes\nDATA00001000\nOKAY\nFAILThis partition doesn't exist\nFAILimage is not a boot "
     "image\n"
     "FAILDo not support this operation.\nFAILflash preloader is not permitted.\n"
     "FAILdownload for partition 'seccfg' is not allowed\n\nOKAY\nDATA00005000\nOKAY\nFAILsize too "
     "large\n"
     "FAILformat for partition 'nvram' is not allowed\n\nOKAY\n",
     NEXT_OFF, NULL},
    {"a name that begins like another is another", UNLOCKED,
     "getvar:partition-type:systeminfo_a\ngetvar:partition-type:system_b\nerase:systeminfo_a\nerase:boot_para\n"
     "erase:vendor_b\nerase:odmdtbo_a\nerase:sspm_a\nerase:scp_b\nerase:scpx",
     "OKAYraw data\nOKAYext4\nFAILformat for partition 'systeminfo_a' is not allowed\n\n"
     "FAILformat for partition 'boot_para' is not allowed\n\nOKAY\nOKAY\n"
     "FAILformat for partition 'sspm_a' is not allowed\n\nOKAY\nFAILThis partition doesn't exist\n",
     NEXT_OFF, NULL},
    {"sparse: raw, fill, skip", UNLOCKED, "download:00001048\n+image\nflash:cda\n",
     "DATA00001048\nOKAY\nOKAY\n", NEXT_OFF, SPARSE_IMAGE},
    {"sparse: a standard checksum chunk is refused", UNLOCKED,
     "download:0000002c\n+image\nflash:cda",
     "DATA0000002c\nOKAY\nFAILBogus chunk size for chunk type Dont Care\n", NEXT_OFF,
     "3aff26ed 0100 0000 1c00 0c00 00100000 00000000 01000000 00000000 c4ca0000 00000000 10000000 "
     "00000000"},
    {"sparse: larger than the partition", UNLOCKED, "download:0000001c\n+image\nflash:cda",
     "DATA0000001c\nOKAY\nFAILsparse image size span overflow.\n", NEXT_OFF,
     "3aff26ed 0100 0000 1c00 0c00 00100000 ff000000 00000000 00000000"},
    {"sparse: blocks missing", UNLOCKED, "download:0000001c\n+image\nflash:cda",
     "DATA0000001c\nOKAY\nFAILsparse image write failure\n", NEXT_OFF,
     "3aff26ed 0100 0000 1c00 0c00 00100000 01000000 00000000 00000000"},
    {"sparse: unknown chunk", UNLOCKED, "download:00000028\n+image\nflash:cda",
     "DATA00000028\nOKAY\nFAILUnknown chunk type\n", NEXT_OFF,
     "3aff26ed 0100 0000 1c00 0c00 00100000 01000000 01000000 00000000 c9ca0000 01000000 0c000000"},
    {"slots", SLOT_B,
     "getvar:current-slot\nset_active:a\ngetvar:current-slot\nset_active:c\n"
     "oem set_active:b\ngetvar:current-slot",
     "OKAYb\nOKAY\nOKAYa\nFAILcommand parameter is not allowed\nOKAY\nOKAYb\n", NEXT_OFF, NULL},
    {"unlocking is not allowed while Android does not allow it", 0,
     "flashing get_unlock_ability\nflashing unlock\noem key 123\noem lks",
     "INFOunlock_ability = 0\nOKAY\nFAILUnlock operation is not allowed\n\nFAILargument size is "
     "wrong\n\n"
     "INFOlks = 1\nOKAY\n",
     NEXT_OFF, NULL},
    {"versions", 0, "oem getversions\noem getSecurityVersion\noem getProjectCode",
     "INFOmodel=TA-1105\nINFOsub_model=PDA\nINFOsoftware version=PDA-1100-0-00WW-B01\n"
     "INFOhardware version=PVT\nINFOchip version=MT6771V/C\nINFOEMMC version=HCG8a4\nOKAY\n"
     "INFO0001\nOKAY\nINFOPDA\nOKAY\n",
     NEXT_OFF, NULL},
    {"codes of the maker", 0, "oem getBrandCode\noem getRootStatus\noem CustomerSKUID get\noem CustomerSKUID set 00CN",
     "INFOHMD\nOKAY\nINFO0\nOKAY\nINFO600WW\nOKAY\nFAILnot allowed in locked state\n", NEXT_OFF, NULL},
    {"SKU of a phone that lets it be set", UNLOCKED,
     "oem CustomerSKUID set\noem CustomerSKUID set 123456789\noem CustomerSKUID set 00CN\noem CustomerSKUID get",
     "FAILargument size is wrong\n\nFAILargument size is wrong\n\nOKAY\nINFO00CN\nOKAY\n", NEXT_OFF, NULL},
    {"no challenge where a digest is enough", SERVICE, "oem dm-veracity\noem device-info",
     "FAILunknown command\nFAILunknown command\n", NEXT_OFF, NULL},
    {"reboot", 0, "reboot\ngetvar:product", "OKAY\n", NEXT_RESET, NULL},
    {"continue boots", 0, "continue", "OKAY\n", NEXT_ANDROID, NULL},
};

static void md5_put(const char *serial, char *line)
{
    char *at = strstr(line, "@");
    if (!at || strlen(at) < 4)
        return;
    bool lower = at[1] == 'm';
    char hex[MD5_HEX_BYTES];
    md5_hex_upper(span_of(serial, strlen(serial)), hex);
    for (int i = 0; hex[i]; i++)
        at[i] = (char)(lower && hex[i] >= 'A' ? hex[i] + 32 : hex[i]);
    at[32] = '\0';
}

static void line_script(struct board *b, const struct row *row, char *line)
{
    static uint8_t letters[1 << 18], image[8192];
    memset(letters, 'A', sizeof(letters));
    if (strcmp(line, "+empty") == 0)
        fake_script(b, "", 0);
    else if (strcmp(line, "+nvram") == 0)
        fake_script(b, letters, fake_partition(b, "nvram")->size_bytes);
    else if (strcmp(line, "+image") == 0) {
        unsigned long len = strtoul(strstr(row->script, "download:") + 9, NULL, 16);
        memset(image, 'R', sizeof(image));
        assert_true(hex_decode(row->image, image, sizeof(image)) > 0);
        fake_script(b, image, len);
    } else if (line[0] == '+')
        fake_script(b, letters, strtoul(line + 1, NULL, 10));
    else {
        md5_put(b->phone.label.serial, line);
        fake_say(b, line);
    }
}

static void service_put(struct board *b, const char *partition)
{
    struct firmware *f = NULL;
    assert_int_equal(firmware_new(b->phone.profile, FACTORY_VERSION, &f, NULL), 0);
    fake_put(b, partition, 0, f->lk_service.data, f->lk_service.len);
    firmware_free(&f);
}

static struct board *phone_for(const struct row *row)
{
    const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = row->how & SLOT_B ? 'b' : 'a'};
    struct board *b = fake_new(&order);
    if (row->how & SERVICE)
        service_put(b, "lk_a");
    if (row->how & LOST_SERIAL)
        fake_wipe(b, "proinfo");
    if (row->how & SECURE)
        b->settings.target_config = 1;
    if (row->how & LOW_BATTERY)
        b->settings.battery_mv = 3400;
    if (row->how & UNLOCKED) {
        uint8_t seccfg[SECCFG_BYTES];
        seccfg_encode(&b->phone.chip, SECCFG_UNLOCKED, seccfg);
        fake_put(b, "seccfg", 0, seccfg, sizeof(seccfg));
    }
    b->target = TARGET_FASTBOOT;
    return b;
}

static void dialogue(void **state)
{
    const struct row *row = ROW(state);
    AUTO(fake_free) struct board *b = phone_for(row);
    char script[2048], *save = NULL;
    char lines[64][160];
    size_t count = 0;
    snprintf(script, sizeof(script), "%s", row->script);
    for (char *line = strtok_r(script, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        snprintf(lines[count], sizeof(lines[0]), "%s", line);
        line_script(b, row, lines[count++]);
    }
    enum board_next next = lk_run(b);
    assert_string_equal(b->output, row->want);
    assert_int_equal(next, row->next);
}

static struct board *service_phone(void)
{
    static const struct row row = {.how = SERVICE};
    return phone_for(&row);
}

static void flash_writes_only_what_was_sent(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = service_phone();
    uint8_t before[8192], after[8192], sent[1000];
    memset(sent, 'n', sizeof(sent));
    uint64_t at = fake_partition(b, "nvram")->start_bytes;
    assert_int_equal(board_flash_read(b, AREA_USER, at, before, sizeof(before)), 0);
    char verity[64] = "oem dm-verity @MD5";
    md5_put(b->phone.label.serial, verity);
    fake_say(b, verity);
    fake_say(b, "download:000003e8");
    fake_script(b, sent, sizeof(sent));
    fake_say(b, "flash:nvram");
    lk_run(b);
    assert_string_equal(b->output, "OKAY\nDATA000003e8\nOKAY\nOKAY\n");
    assert_int_equal(board_flash_read(b, AREA_USER, at, after, sizeof(after)), 0);
    assert_memory_equal(after, sent, sizeof(sent));
    assert_memory_equal(after + sizeof(sent), before + sizeof(sent), sizeof(after) - sizeof(sent));
}

static void sparse_lands_where_it_must(void **state)
{
    (void)state;
    static const struct row row = {.how = UNLOCKED};
    AUTO(fake_free) struct board *b = phone_for(&row);
    uint8_t image[4096 + 72], got[3 * 4096], old[4096];
    memset(image, 'R', sizeof(image));
    assert_true(hex_decode(SPARSE_IMAGE, image, sizeof(image)) > 0);
    uint64_t at = fake_partition(b, "cda_a")->start_bytes;
    assert_int_equal(board_flash_read(b, AREA_USER, at, old, sizeof(old)), 0);
    fake_say(b, "download:00001048");
    fake_script(b, image, sizeof(image));
    fake_say(b, "flash:cda");
    lk_run(b);
    assert_string_equal(b->output, "DATA00001048\nOKAY\nOKAY\n");
    assert_int_equal(board_flash_read(b, AREA_USER, at, got, sizeof(got)), 0);
    assert_memory_equal(got, old, 4096); /* DONT_CARE keeps what was there */
    for (int i = 0; i < 4096; i++) {
        assert_int_equal(got[4096 + i], (uint8_t) "\xef\xbe\xad\xde"[i % 4]);
        assert_int_equal(got[8192 + i], 'R');
    }
}

static int image_next(void *arg, void *dst, size_t len, struct err *err)
{
    (void)err;
    uint8_t **at = arg;
    memcpy(dst, *at, len);
    *at += len;
    return 0;
}

/* What a host does with an image above max-download-size: each piece is a whole sparse image, and
 * together they leave the partition as one raw image would. */
static void pieces_of_the_sparse_writer_add_up(void **state)
{
    (void)state;
    enum { IMAGE = 64 << 10, LIMIT = 20 << 10 };
    static const struct row row = {.how = UNLOCKED};
    AUTO(fake_free) struct board *b = phone_for(&row);
    const struct partition *nvram = fake_partition(b, "nvram");
    assert_true(nvram->size_bytes >= IMAGE);
    static uint8_t image[IMAGE], got[IMAGE], pieces[8][LIMIT];
    for (size_t i = 0; i < sizeof(image); i++)
        image[i] = (uint8_t)(i * 2654435761u >> 13);
    uint8_t *at = image;
    struct sparse_writer_options options = {IMAGE, 4096, LIMIT};
    struct sparse_writer w;
    assert_int_equal(sparse_writer_init(&w, &options, image_next, &at, NULL), 0);
    char commands[ARRAY_LEN(pieces)][32];
    size_t count = 0;
    for (uint32_t size; (size = sparse_writer_next(&w)) > 0; count++) {
        assert_true(count < ARRAY_LEN(pieces) && size <= LIMIT);
        assert_int_equal(sparse_writer_source(&w, pieces[count], size, NULL), 0);
        snprintf(commands[count], sizeof(commands[0]), "download:%08x", size);
        fake_say(b, commands[count]);
        fake_script(b, pieces[count], size);
        fake_say(b, "flash:nvram");
    }
    assert_true(count > 2);
    lk_run(b);
    assert_null(strstr(b->output, "FAIL"));
    assert_int_equal(board_flash_read(b, AREA_USER, nvram->start_bytes, got, sizeof(got)), 0);
    assert_memory_equal(got, image, sizeof(image));
}

static const struct mistake_row {
    const char *name; /* of the violation; "": none */
    const char *script;
    const char *image; /* what "+image" stands for, in hex */
} mistakes[] = {
    {"", "getvar:product\ndownload:00000040\n+64 A\nflash:cda\noem getUID", NULL},
    {"fastboot.command_too_long",
     "getvar:version                                                    getvar:product", NULL},
    {"fastboot.zero_length_packet", "+empty", NULL},
    {"fastboot.empty_image", "flash:cda", NULL},
    {"fastboot.data_length", "download:00001000\n+100 A", NULL},
    {"fastboot.data_length", "download:00000004\n+512 A", NULL},
    {"fastboot.data_length", "download:00000200\n+600 A", NULL},
    {"fastboot.sparse_crc32_chunk", "download:0000002c\n+image\nflash:cda",
     "3aff26ed 0100 0000 1c00 0c00 00100000 00000000 01000000 00000000"
     "c4ca0000 00000000 10000000 00000000"},
};

static void host_mistake(void **state)
{
    const struct mistake_row *mistake = ROW(state);
    const struct row row = {.how = UNLOCKED, .script = mistake->script, .image = mistake->image};
    AUTO(fake_free) struct board *b = phone_for(&row);
    char script[256], lines[8][160], *save = NULL;
    size_t count = 0;
    snprintf(script, sizeof(script), "%s", mistake->script);
    for (char *line = strtok_r(script, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        snprintf(lines[count], sizeof(lines[0]), "%s", line);
        line_script(b, &row, lines[count++]);
    }
    lk_run(b);
    assert_string_equal(b->violation, mistake->name);
}

/* One row for each thing that nobody knows of this LK: the setting's other value. */
static const struct unknown_row {
    const char *name, *setting, *value;
    unsigned how;
    const char *script, *want;
} unknowns[] = {
    {"commercial LK with dm-verity", "verity_commercial", "1", 0,
     "oem dm-verity @MD5\ndownload:00000010\n+16 A\nflash:cda", "OKAY\nDATA00000010\nOKAY\nOKAY\n"},
    {"digest in capitals only", "verity_digest", "upper", SERVICE,
     "oem dm-verity @md5\noem dm-verity @MD5", "FAILdm-verity verify failed\nOKAY\n"},
    {"digest in small letters only", "verity_digest", "lower", SERVICE,
     "oem dm-verity @MD5\noem dm-verity @md5", "FAILdm-verity verify failed\nOKAY\n"},
    {"text of a wrong digest", "verity_refusal", "no!", SERVICE,
     "oem dm-verity 00000000000000000000000000000000", "FAILno!\n"},
    {"answers in the OKAY", "oem_reply", "okay", 0, "oem getProjectCode\noem getBootloaderType",
     "OKAYPDA\nOKAYcommercial\n"},
    {"answers by name", "oem_reply", "named", 0,
     "oem getBootloaderType\noem getSecurityVersion\noem getBrandCode",
     "INFOgetBootloaderType: commercial\nOKAY\nINFOgetSecurityVersion: 0001\nOKAY\n"
     "INFOgetBrandCode: HMD\nOKAY\n"},
    {"security version", "security_version", "0042", SERVICE,
     "oem getSecurityVersion\noem dm-verity @MD5", "INFO0042\nOKAY\nOKAY\n"},
    {"a newer security version wants a challenge", "security_version", "0008", SERVICE,
     "oem getSecurityVersion\noem dm-verity @MD5\noem getpermissions",
     "INFO0008\nOKAY\nFAILunknown command\nINFOpermission=0\nOKAY\n"},
    {"challenge", "auth", "challenge", SERVICE,
     "oem getSecurityVersion\noem dm-verity @MD5\noem dm-veracity\ndownload:00000010\n+16 A\n"
     "flash:veracity\nflash:encUID\nflash:nvram",
     "INFO0004\nOKAY\nFAILunknown command\nINFO" CHALLENGE_1 "\nOKAY\nDATA00000010\nOKAY\n"
     "FAILdm-verity verify failed\nFAILdm-verity verify failed\nFAILtarget device is locked\n"},
    {"challenge on the commercial build", "auth", "challenge", 0, "oem dm-verity @MD5\noem dm-veracity",
     "FAILunknown command\nINFO" CHALLENGE_1 "\nOKAY\n"},
    {"no permission needed", "auth", "none", SERVICE,
     "oem getpermissions\ndownload:00000010\n+16 A\nflash:cda",
     "INFOpermission=1\nOKAY\nDATA00000010\nOKAY\nOKAY\n"},
    {"no permission needed, but a service build", "auth", "none", 0,
     "download:00000010\n+16 A\nflash:cda", "DATA00000010\nOKAY\nFAILnot allowed in locked state\n"},
    {"text of a locked service build", "locked_text", "no!", SERVICE,
     "download:00000010\n+16 A\nflash:cda\nerase:boot\nboot", "DATA00000010\nOKAY\nFAILno!\nFAILno!\nFAILno!\n"},
    {"locked: MediaTek's policy", "text_style", "mtk", SERVICE, "flash:nvram\nerase:vendor_a\nboot",
     "FAILdownload for partition 'nvram' is not allowed\n\nFAILformat for partition 'vendor_a' is not allowed\n\n"
     "FAILtarget device is locked\n"},
    {"locked: MediaTek's gate comes before its policy", "text_style", "mtk", 0, "flash:nvram",
     "FAILnot allowed in locked state\n"},
    {"locked: newer builds of MediaTek", "text_style", "newmtk", 0, "flash:nvram\nerase:proinfo\nflash:cda",
     "FAILFlashing is not allowed for Controlled Partitions\n"
     "FAILErasing is not allowed for Controlled Partitions\nFAILnot allowed in locked state\n"},
    {"newer builds of MediaTek with permission", "text_style", "newmtk", SERVICE,
     "oem dm-verity @MD5\ndownload:00000010\n+16 A\nflash:nvram", "OKAY\nDATA00000010\nOKAY\nOKAY\n"},
    {"product", "product", "PL2", 0, "getvar:product", "OKAYPL2\n"},
    {"version of the preloader", "version_preloader", "1.2", 0, "getvar:version-preloader", "OKAY1.2\n"},
    {"version of the bootloader", "version_bootloader", "x", 0, "getvar:version-bootloader", "OKAYx\n"},
    {"version of the baseband", "version_baseband", "M1", 0, "getvar:version-baseband", "OKAYM1\n"},
    {"hardware revision", "hw_revision", "1.0", 0, "getvar:hw-revision", "OKAY1.0\n"},
    {"variables that LK does not know", "vars_absent", "kernel,has-slot", 0,
     "getvar:kernel\ngetvar:has-slot:boot\ngetvar:has-slot:preloader\ngetvar:version",
     "FAILGetVar Variable Not found\nFAILGetVar Variable Not found\nFAILGetVar Variable Not found\nOKAY0.5\n"},
    {"set_active is unknown", "set_active", "unknown", 0, "set_active:b\noem set_active:b\ngetvar:current-slot",
     "FAILunknown command\nFAILunknown command\nOKAYa\n"},
    {"set_active does nothing", "set_active", "ignored", 0, "set_active:b\ngetvar:current-slot\nset_active:c",
     "OKAY\nOKAYa\nFAILcommand parameter is not allowed\n"},
    {"a refusal of one's choice", "fail_command", "flash:nv=unknown reason", UNLOCKED, "flash:nvram\nflash:cda",
     "FAILunknown reason\nOKAY\n"},
    {"preloader of which nothing is right", "preloader_writable", "1", UNLOCKED,
     "download:00000010\n+16 A\nflash:preloader", "DATA00000010\nOKAY\nFAILnot a valid preloader.\n"},
    {"sizes with 0x", "size_prefix", "1", 0, "getvar:partition-size:nvram", "OKAY0x40000\n"},
    {"no elabel", "elabel_absent", "1", UNLOCKED,
     "getvar:partition-size:elabel\ndownload:00000010\n+16 A\nflash:elabel",
     "FAILGetVar Variable Not found\nDATA00000010\nOKAY\nFAILThis partition doesn't exist\n"},
    {"unlocked", "unlocked", "1", 0, "getvar:unlocked\ndownload:00000010\n+16 A\nflash:cda",
     "OKAYyes\nDATA00000010\nOKAY\nOKAY\n"},
    {"responses in two transfers", "split_response", "1", 0, "getvar:product", "OKAY\nPDA\n"},
};

static void unknown(void **state)
{
    const struct unknown_row *u = ROW(state);
    const struct row row = {.how = u->how, .script = u->script};
    AUTO(fake_free) struct board *b = phone_for(&row);
    assert_int_equal(settings_set(&b->settings, u->setting, u->value, NULL), 0);
    char script[256], lines[16][160], *save = NULL;
    size_t count = 0;
    snprintf(script, sizeof(script), "%s", u->script);
    for (char *line = strtok_r(script, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        snprintf(lines[count], sizeof(lines[0]), "%s", line);
        line_script(b, &row, lines[count++]);
    }
    lk_run(b);
    assert_string_equal(b->output, u->want);
}

/* Faults on flash, in images of both kinds: four bytes, and blocks of 4096 to skip, to fill, to take. */
static const struct flash_fault_row {
    const char *name, *fault;
    bool sparse;
    uint64_t at; /* in cda_a */
    const char *want;
    bool written[2]; /* first block, third one */
} flash_faults[] = {
    {"a raw write lies", "lying_write", false, 3, "OKAY", {false}},
    {"a raw write fails", "flash_fails", false, 0, "FAILflash write failure", {false}},
    {"a raw write before the place", "lying_write", false, 4, "OKAY", {true}},
    {"a sparse write lies", "lying_write", true, 2 * 4096, "OKAY", {false, false}},
    {"a sparse write fails",
     "flash_fails",
     true,
     3 * 4096 - 1,
     "FAILflash write failure",
     {false, false}},
    {"a fill fails",
     "flash_fails",
     true,
     4096,
     "FAILCHUNK_TYPE_FILL flash write failure",
     {false, false}},
    {"what is skipped neither lies nor fails", "flash_fails", true, 100, "OKAY", {false, true}},
    {"a sparse write before the place", "flash_fails", true, 3 * 4096, "OKAY", {false, true}},
};

static void flash_fault(void **state)
{
    const struct flash_fault_row *row = ROW(state);
    static const struct row phone = {.how = UNLOCKED};
    AUTO(fake_free) struct board *b = phone_for(&phone);
    uint64_t at = fake_partition(b, "cda_a")->start_bytes;
    uint8_t image[4096 + 72], old[3 * 4096], got[3 * 4096];
    char want[128];
    memset(image, 'R', sizeof(image));
    assert_true(hex_decode(SPARSE_IMAGE, image, sizeof(image)) > 0);
    strcpy(b->fault, row->fault);
    b->fault_at = at + row->at;
    assert_int_equal(board_flash_read(b, AREA_USER, at, old, sizeof(old)), 0);
    fake_say(b, row->sparse ? "download:00001048" : "download:00000004");
    fake_script(b, row->sparse ? image : (const uint8_t *)"XXXX", row->sparse ? sizeof(image) : 4);
    fake_say(b, "flash:cda");
    lk_run(b);
    snprintf(want, sizeof(want), "DATA%s\nOKAY\n%s\n", row->sparse ? "00001048" : "00000004",
             row->want);
    assert_string_equal(b->output, want);
    board_flash_read(b, AREA_USER, at, got, sizeof(got));
    assert_int_equal(memcmp(got, old, 4096) != 0, row->written[0]);
    assert_int_equal(memcmp(got + 8192, old + 8192, 4096) != 0, row->written[1]);
}

/* With the boot areas open LK puts the file behind a storage header of its own, and the boot ROM starts it. */
static void preloader_goes_into_a_boot_area(void **state)
{
    (void)state;
    static const struct row row = {.how = UNLOCKED};
    AUTO(fake_free) struct board *b = phone_for(&row);
    struct firmware *f = NULL;
    char download[32];
    assert_int_equal(firmware_new(b->phone.profile, "PDA-1110-0-00WW-B01", &f, NULL), 0);
    AUTO(free_ptr) uint8_t *area = xcalloc(1, b->phone.boot_bytes);
    assert_int_equal(board_flash_zero(b, AREA_BOOT2, 0, b->phone.boot_bytes), 0);
    assert_int_equal(settings_set(&b->settings, "preloader_writable", "1", NULL), 0);
    snprintf(download, sizeof(download), "download:%08zx", f->preloader.len);
    fake_say(b, download);
    fake_script(b, f->preloader.data, f->preloader.len);
    fake_say(b, "flash:preloader_b");
    lk_run(b);
    assert_non_null(strstr(b->output, "\nOKAY\nOKAY\n"));
    assert_int_equal(board_flash_read(b, AREA_BOOT2, 0, area, b->phone.boot_bytes), 0);
    assert_true(preloader_bootable(span_of(area, b->phone.boot_bytes)));
    assert_memory_equal(area + BOOT_HEADER_BYTES, f->preloader.data, f->preloader.len);
    firmware_free(&f);
}

struct fault_row {
    const char *name, *command, *want;
};
static struct fault_row faults[] = {
    {"verity_unknown", "oem dm-verity 00000000000000000000000000000000", "FAILunknown command\n"},
    {"empty_getvar", "getvar:product", "OKAY\n"},
    {"reply_newline", "getvar:product", "OKAYPDA\n\n"},
    {"halt_stays", "oem HALT", "OKAY\n"},
};

static void fault_is_shown(void **state)
{
    const struct fault_row *row = ROW(state);
    AUTO(fake_free) struct board *b = service_phone();
    strcpy(b->fault, row->name);
    fake_say(b, row->command);
    assert_int_equal(lk_run(b), NEXT_OFF);
    assert_string_equal(b->output, row->want);
}

static void long_and_many_replies(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = service_phone();
    strcpy(b->fault, "long_reply");
    fake_say(b, "getvar:product");
    lk_run(b);
    assert_int_equal(b->output_len, 201);
    AUTO(fake_free) struct board *flooded = service_phone();
    strcpy(flooded->fault, "info_flood");
    fake_say(flooded, "getvar:product");
    lk_run(flooded);
    assert_non_null(strstr(flooded->output, "INFOline 100 of 100\nOKAYPDA\n"));
}

struct reboot_row {
    const char *name;
    enum board_boot_target want;
};
static struct reboot_row reboots[] = {
    {"reboot", TARGET_HOME},
    {"reboot-bootloader", TARGET_FASTBOOT},
    {"reboot-recovery", TARGET_HOME},
    {"reboot-xyz", TARGET_HOME},
};

static void reboot_leads_there(void **state)
{
    const struct reboot_row *row = ROW(state);
    AUTO(fake_free) struct board *b = service_phone();
    fake_say(b, row->name);
    assert_int_equal(lk_run(b), NEXT_RESET);
    assert_int_equal(b->target, row->want);
    assert_string_equal(b->output, "OKAY\n");
}

static void getvar_all_lists_newest_first(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = service_phone();
    fake_say(b, "getvar:all");
    lk_run(b);
    const char *newest = strstr(b->output, "INFOhas-slot:flashinfo: no\n");
    const char *oldest = strstr(b->output, "INFOversion: 0.5\nOKAYDone!!\n");
    assert_ptr_equal(newest, b->output);
    assert_non_null(oldest);
    for (const char *line = b->output; *line; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 63);
}

static void descriptors_are_lks(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = service_phone();
    uint8_t device[18], config[32];
    hex_decode("12 01 0002 00 00 00 40 042e 09c0 0001 01 02 03 01", device, sizeof(device));
    hex_decode("09 02 2000 01 01 00 80 80  09 04 00 00 02 ff 42 03 04  07 05 81 02 0002 00"
               "07 05 01 02 0002 01",
               config, sizeof(config));
    assert_int_equal(lk_run(b), NEXT_OFF);
    assert_memory_equal(b->device_desc, device, sizeof(device));
    assert_memory_equal(b->config_desc, config, sizeof(config));
    assert_string_equal(b->serial_string, SERIAL_1);
}

static void broken_lk_falls_back(void **state)
{
    (void)state;
    const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = 'b'};
    AUTO(fake_free) struct board *b = fake_new(&order);
    service_put(b, "lk_a");
    fake_put(b, "lk_b", 0x300, "torn", 4);
    b->target = TARGET_FASTBOOT;
    fake_say(b, "oem getBootloaderType");
    lk_run(b);
    assert_string_equal(b->output, "INFOservice\nOKAY\n");
    b->powerless = false;
    fake_put(b, "lk_a", 0x300, "torn", 4);
    assert_int_equal(lk_run(b), NEXT_RESET); /* the preloader has nothing to start */
}

static void backup_table_is_used(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = service_phone();
    assert_int_equal(board_flash_write(b, AREA_USER, 1100, "x", 1), 0);
    fake_say(b, "getvar:partition-size:para");
    lk_run(b);
    assert_string_equal(b->output, "OKAY4000\n");
}

static void torn_slot_does_not_boot(void **state)
{
    (void)state;
    const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = 'a'};
    AUTO(fake_free) struct board *b = fake_new(&order);
    assert_int_equal(lk_run(b), NEXT_ANDROID);
    fake_put(b, "system_a", 100, "torn", 4);
    fake_say(b, "getvar:slot-unbootable:a");
    fake_say(b, "getvar:slot-successful:a");
    lk_run(b); /* no slot can boot: fastboot */
    assert_string_equal(b->output, "OKAYyes\nOKAYno\n");
}

static void other_slot_boots(void **state)
{
    (void)state;
    const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = 'b'};
    AUTO(fake_free) struct board *b = fake_new(&order);
    fake_put(b, "boot_b", 100, "torn", 4);
    assert_int_equal(lk_run(b), NEXT_ANDROID);
    b->target = TARGET_FASTBOOT;
    fake_say(b, "getvar:current-slot");
    lk_run(b);
    assert_string_equal(b->output, "OKAYa\n");
}

static void assert_slot_a(struct board *b, const char *want)
{
    b->powerless = false;
    b->target = TARGET_FASTBOOT;
    b->output_len = 0;
    fake_say(b, "getvar:slot-successful:a");
    fake_say(b, "getvar:slot-retry-count:a");
    lk_run(b);
    b->powerless = false;
    assert_string_equal(b->output, want);
}

static void tries_are_counted_until_android_is_up(void **state)
{
    (void)state;
    const struct factory_order order = {
        .profile = PROFILE_TINY, .seed = 1, .index = 1, .slot = 'a'};
    AUTO(fake_free) struct board *b = fake_new(&order);
    assert_int_equal(factory_lose_identity(b->dir, LOSS_FORMAT_DOWNLOAD, NULL), 0);
    assert_slot_a(b, "OKAYno\nOKAY7\n"); /* para is blank: LK's own idea, not written */
    assert_int_equal(lk_run(b), NEXT_ANDROID);
    assert_slot_a(b, "OKAYno\nOKAY6\n");
    assert_int_equal(lk_run(b), NEXT_ANDROID);
    android_run(b);
    assert_slot_a(b, "OKAYyes\nOKAY0\n");
    assert_int_equal(lk_run(b), NEXT_ANDROID);
    assert_slot_a(b, "OKAYyes\nOKAY0\n");
}

static void cable_start_ends_on_the_charging_screen(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = service_phone();
    b->target = TARGET_NORMAL;
    b->start = START_RESET;
    assert_int_equal(lk_run(b), NEXT_OFF);
    b->target = TARGET_HOME;
    assert_int_equal(lk_run(b), NEXT_ANDROID);
}

static void unlocking_asks_and_wipes(void **state)
{
    (void)state;
    AUTO(fake_free) struct board *b = service_phone();
    const struct partition *frp = fake_partition(b, "frp");
    fake_put(b, "frp", frp->size_bytes - 4, "\1\0\0\0", 4);
    b->keys = KEY_VOL_UP;
    b->target = TARGET_FASTBOOT;
    fake_say(b, "flashing unlock");
    fake_say(b, "getvar:unlocked");
    lk_run(b);
    assert_string_equal(b->output, "INFOStart unlock flow\n\nOKAY\nOKAYyes\n");
    uint8_t got[8] = {1};
    board_flash_read(b, AREA_USER, fake_partition(b, "userdata")->start_bytes, got, sizeof(got));
    assert_memory_equal(got, "\0\0\0\0\0\0\0\0", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flash_writes_only_what_was_sent),
        cmocka_unit_test(sparse_lands_where_it_must),
        cmocka_unit_test(pieces_of_the_sparse_writer_add_up),
        cmocka_unit_test(preloader_goes_into_a_boot_area),
        cmocka_unit_test(long_and_many_replies),
        cmocka_unit_test(getvar_all_lists_newest_first),
        cmocka_unit_test(descriptors_are_lks),
        cmocka_unit_test(broken_lk_falls_back),
        cmocka_unit_test(backup_table_is_used),
        cmocka_unit_test(torn_slot_does_not_boot),
        cmocka_unit_test(other_slot_boots),
        cmocka_unit_test(tries_are_counted_until_android_is_up),
        cmocka_unit_test(cable_start_ends_on_the_charging_screen),
        cmocka_unit_test(unlocking_asks_and_wipes),
    };
    return RUN_ROWS(dialogue, rows) + RUN_ROWS(host_mistake, mistakes) +
           RUN_ROWS(unknown, unknowns) + RUN_ROWS(fault_is_shown, faults) +
           RUN_ROWS(flash_fault, flash_faults) + RUN_ROWS(reboot_leads_there, reboots) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
