#include <stdarg.h>
#include <stdio.h>

#include "tests/phone/lk.h"
#include "usb/base/mem.h"

/* Calls `each` with every variable in the order of registration; stops when it answers anything but
 * LK_CONTINUE. */
typedef enum lk_outcome var_fn(void *arg, const char *name, const char *value);

struct walk {
    var_fn *each;
    void *arg;
    enum lk_outcome outcome;
    const struct board_settings *settings;
};

/* The setting vars_absent names a variable as a whole, or all that begin with a word and a colon. */
static bool absent(const char *list, const char *name)
{
    size_t whole = strlen(name), word = strcspn(name, ":");
    for (size_t len; *list; list += len + (list[len] == ',')) {
        len = strcspn(list, ",");
        if ((len == whole || len == word) && strncmp(list, name, len) == 0)
            return true;
    }
    return false;
}

static void var(struct walk *w, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void var(struct walk *w, const char *name, const char *fmt, ...)
{
    char value[64];
    if (w->outcome != LK_CONTINUE || absent(w->settings->vars_absent, name))
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(value, sizeof(value), fmt, args);
    va_end(args);
    w->outcome = w->each(w->arg, name, value);
}

static const char *yes(bool b)
{
    return b ? "yes" : "no";
}

static void general_vars(struct lk *lk, struct walk *w)
{
    const struct board_settings *s = board_settings(lk->b);
    var(w, "version", "0.5");
    var(w, "version-preloader", "%s", s->version_preloader);
    var(w, "version-bootloader", "%s", s->version_bootloader);
    var(w, "version-baseband", "%s", s->version_baseband);
    var(w, "product", "%s", s->product);
    var(w, "kernel", "lk");
    var(w, "is-userspace", "no");
    var(w, "serialno", "%s", lk->serial);
    var(w, "secure", "%s", yes(lk_secure(lk)));
    var(w, "unlocked", "%s", yes(lk_unlocked(lk)));
    var(w, "warranty", "%s", yes(!lk_unlocked(lk)));
    var(w, "off-mode-charge", "1");
    var(w, "max-download-size", "0x%llX", (unsigned long long)s->max_download);
    var(w, "battery-voltage", "%dmV", s->battery_mv);
    var(w, "battery-soc-ok", "yes");
    var(w, "hw-revision", "%s", s->hw_revision);
    var(w, "erase-block-size", "80000");
    var(w, "logical-block-size", "200");
    var(w, "variant", "%s", "");
}

static void slot_vars(struct lk *lk, struct walk *w)
{
    char name[40], active = para_active_slot(&lk->para);
    var(w, "slot-count", "2");
    var(w, "current-slot", "%c", active ? active : 'a');
    for (int i = 0; i < 2; i++) {
        const struct para_slot *s = &lk->para.slots[i];
        bool bootable = s->priority && (s->successful || s->tries_left);
        snprintf(name, sizeof(name), "slot-successful:%c", 'a' + i);
        var(w, name, "%s", yes(s->successful));
        snprintf(name, sizeof(name), "slot-unbootable:%c", 'a' + i);
        var(w, name, "%s", yes(!bootable));
        snprintf(name, sizeof(name), "slot-retry-count:%c", 'a' + i);
        var(w, name, "%u", s->tries_left);
    }
}

static const char *partition_type(const char *name)
{
    static const char *const ext4[] = {"nvcfg",    "nvdata", "protect1", "protect2", "persist",
                                       "metadata", "system", "vendor",   "userdata", NULL};
    return fb_name_in(name, ext4) ? "ext4" : "raw data";
}

static void partition_vars(const struct partition *p, struct walk *w)
{
    char name[64];
    /* hexadecimal, by default without 0x; LK keeps the last megabyte of userdata for itself */
    bool userdata = strcmp(p->name, "userdata") == 0;
    uint64_t size = p->size_bytes - (userdata && p->size_bytes > 0x100000 ? 0x100000 : 0);
    snprintf(name, sizeof(name), "partition-type:%s", p->name);
    var(w, name, "%s", partition_type(p->name));
    snprintf(name, sizeof(name), "partition-size:%s", p->name);
    var(w, name, "%s%llx", w->settings->size_prefix ? "0x" : "", (unsigned long long)size);
    size_t len = strlen(p->name);
    const char *suffix = len > 2 ? p->name + len - 2 : "";
    if (strcmp(suffix, "_b") == 0)
        return;
    bool slotted = strcmp(suffix, "_a") == 0;
    snprintf(name, sizeof(name), "has-slot:%.*s", (int)(slotted ? len - 2 : len), p->name);
    var(w, name, "%s", yes(slotted));
}

static enum lk_outcome vars_walk(struct lk *lk, var_fn *each, void *arg)
{
    const struct board_settings *s = board_settings(lk->b);
    struct walk w = {each, arg, LK_CONTINUE, s};
    general_vars(lk, &w);
    slot_vars(lk, &w);
    var(&w, "has-slot:preloader", "yes");
    for (size_t i = 0; i < lk->table.count; i++)
        if (!s->elabel_absent || strcmp(lk->table.parts[i].name, "elabel") != 0)
            partition_vars(&lk->table.parts[i], &w);
    return w.outcome;
}

struct wanted {
    const char *name;
    bool found;
    char value[64];
};

static enum lk_outcome var_match(void *arg, const char *name, const char *value)
{
    struct wanted *want = arg;
    if (strcmp(name, want->name) == 0) {
        want->found = true;
        snprintf(want->value, sizeof(want->value), "%s", value);
    }
    return LK_CONTINUE;
}

/* LK's list grows at its head: "all" comes newest first. */
struct listing {
    char (*lines)[LK_TEXT_BYTES + 1];
    size_t count, max;
};

static enum lk_outcome var_list(void *arg, const char *name, const char *value)
{
    struct listing *l = arg;
    char line[160];
    snprintf(line, sizeof(line), "%.90s: %.60s", name, value);
    if (l->count < l->max)
        memcpy(l->lines[l->count++], line, strnlen(line, LK_TEXT_BYTES));
    return LK_CONTINUE;
}

static enum lk_outcome getvar_all(struct lk *lk)
{
    struct listing l = {.max = 64 + 3 * ARRAY_LEN(lk->table.parts)};
    AUTO(free_ptr) char *lines = xcalloc(l.max, sizeof(l.lines[0]));
    l.lines = (char(*)[LK_TEXT_BYTES + 1]) lines;
    enum lk_outcome outcome = vars_walk(lk, var_list, &l);
    while (l.count > 0 && outcome == LK_CONTINUE)
        outcome = fb_info(lk, "%s", l.lines[--l.count]);
    return outcome == LK_CONTINUE ? fb_okay(lk, "Done!!") : outcome;
}

enum lk_outcome fb_getvar(struct lk *lk, const char *name)
{
    struct wanted want = {.name = name};
    if (strcmp(name, "all") == 0)
        return getvar_all(lk);
    vars_walk(lk, var_match, &want);
    if (board_fault_due(lk->b, "empty_getvar"))
        return fb_okay(lk, "%s", "");
    return want.found ? fb_okay(lk, "%s", want.value) : fb_fail(lk, "GetVar Variable Not found");
}
