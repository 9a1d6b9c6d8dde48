#include "tests/phone/rom_memory.h"

#include "usb/base/mem.h"

enum {
    CHIP_ID = 0x08000000, /* code, sub code, hw version, sw version: one word each */
    WATCHDOG_MODE = BROM_WATCHDOG_BASE,
    WATCHDOG_RESET = BROM_WATCHDOG_BASE + 0x14,
    WATCHDOG_RESET_KEY = 0x1209,
    DOWNLOAD_FLAG = 0x1001a080,
    MISC_LOCK = 0x1001a100,
    MISC_UNLOCKED = 0xad98,
    RESET_CONTROL = 0x1001a108,
    FUSES = 0x11f10000,
};
#define DOWNLOAD_FLAG_MAGIC 0x444c0000u /* "DL"; bit 1 clear picks the boot ROM */
#define DOWNLOAD_FLAG_TIME  0xfffcu     /* seconds; all ones: no limit */

static const struct {
    uint32_t start, bytes;
    bool write;
} windows[] = {
    {BROM_WATCHDOG_BASE, 0x1000, true},
    {DOWNLOAD_FLAG, 4, true},
    {FUSES, 0x1000, false},
};

static bool in_window(const struct rom_access *a)
{
    uint64_t end = a->address + (uint64_t)a->count * a->width;
    for (size_t i = 0; i < ARRAY_LEN(windows); i++)
        if (a->address >= windows[i].start &&
            end <= (uint64_t)windows[i].start + windows[i].bytes && (windows[i].write || !a->write))
            return true;
    return false;
}

enum brom_status rom_access_check(const struct rom_access *a, enum brom_stage stage,
                                  uint32_t config)
{
    if (a->address % a->width)
        return BROM_MISALIGNED;
    if (a->count == 0)
        return BROM_COUNT_ZERO;
    if ((uint64_t)a->count * a->width > UINT32_MAX)
        return BROM_COUNT_OVERFLOW;
    uint32_t guard = a->write ? BROM_TARGET_MEM_WRITE : BROM_TARGET_MEM_READ;
    if (stage == BROM_STAGE_BROM && !(config & guard))
        return BROM_OK;
    if (in_window(a))
        return BROM_OK;
    return a->write ? BROM_WRITE_REGION_CHK_FAIL : BROM_READ_REGION_CHK_FAIL;
}

uint32_t rom_memory_read(const struct rom_memory *m, uint32_t address)
{
    switch (address & ~3u) {
    case CHIP_ID:
        return BROM_MT6771_HW_CODE;
    case CHIP_ID + 4:
        return ROM_HW_SUB_CODE;
    case CHIP_ID + 8:
        return ROM_HW_VERSION;
    case WATCHDOG_MODE:
        return m->watchdog_mode;
    case DOWNLOAD_FLAG:
        return m->download_flag;
    case MISC_LOCK:
        return m->lock;
    case RESET_CONTROL:
        return m->reset_control;
    default:
        return 0; /* fuses of an open phone, and everything we do not model */
    }
}

void rom_memory_write(struct rom_memory *m, uint32_t address, uint32_t value, uint32_t width)
{
    if (width == 2) {
        uint32_t shift = address & 2 ? 16 : 0;
        value = (rom_memory_read(m, address) & ~(0xffffu << shift)) | (value & 0xffff) << shift;
    }
    switch (address & ~3u) {
    case WATCHDOG_MODE:
        m->watchdog_mode = value;
        break;
    case WATCHDOG_RESET:
        m->reset = value == WATCHDOG_RESET_KEY;
        break;
    case DOWNLOAD_FLAG:
        m->download_flag = value;
        break;
    case MISC_LOCK:
        m->lock = value;
        break;
    case RESET_CONTROL:
        if (m->lock == MISC_UNLOCKED)
            m->reset_control = value;
        break;
    default:
        break;
    }
}

uint32_t rom_memory_kept_flag(const struct rom_memory *m)
{
    bool flag = (m->download_flag & 0xffff0000u) == DOWNLOAD_FLAG_MAGIC && (m->download_flag & 1) &&
                !(m->download_flag & 2);
    return flag && (m->reset_control & 1) ? m->download_flag : 0;
}

int rom_flag_window_ms(uint32_t download_flag)
{
    uint32_t seconds = (download_flag & DOWNLOAD_FLAG_TIME) >> 2;
    return seconds == DOWNLOAD_FLAG_TIME >> 2 ? -1 : (int)seconds * 1000;
}
