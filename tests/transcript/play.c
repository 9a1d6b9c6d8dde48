#include "tests/transcript/play.h"

#include <dirent.h>
#include <stdio.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

int flow_sink(void *arg, const void *data, size_t len, struct err *err)
{
    struct flow *f = arg;
    buf_put(&f->bytes, data, len);
    return f->stop_at ? err_set(err, ERR_CANCELLED, "stopped by the test") : 0;
}

int flow_source(void *arg, void *dst, size_t len, struct err *err)
{
    struct flow *f = arg;
    if (f->stop_at && f->at >= f->stop_at)
        return err_set(err, ERR_CANCELLED, "stopped by the test");
    assert_true(f->at + len <= f->bytes.len);
    memcpy(dst, f->bytes.data + f->at, len);
    f->at += len;
    return 0;
}

static struct transcript *load(const char *name)
{
    char path[512];
    struct err err;
    struct transcript *t = NULL;
    snprintf(path, sizeof(path), TRANSCRIPT_DIR "/%s.txt", name);
    if (transcript_load(path, &t, &err) < 0)
        fail_msg("%s", err.text);
    return t;
}

/* What the head says about the state that was reached before. */
static void play_init(struct play *p, const char *name, enum script_model model)
{
    *p = (struct play){.t = load(name)};
    script_init(&p->script, p->t, model);
    p->link = (struct link){.transport = &p->script.transport};
    da_init(&p->da, &p->link);
    fb_init(&p->fb, &p->link);
    if (strcmp(transcript_value(p->t, "stage", 0), "da2") != 0)
        return;
    p->da.in_da2 = true;
    p->da.packet = (struct xflash_packet_length){0x200000, 0x200000};
    p->da.emmc = (struct xflash_emmc_info){.type = 1, .block_bytes = 512};
    p->da.emmc.user_bytes = 0x747c00000;
}

void play_test(void **state)
{
    const struct play_row *row = ROW(state);
    enum script_model last = SCRIPT_FIELD;
    for (enum script_model model = SCRIPT_FIELD; model <= last; model++) {
        struct play p;
        play_init(&p, row->name, model);
        if (strcmp(transcript_value(p.t, "stage", 0), "fastboot") != 0)
            last = SCRIPT_EXACT;
        int rc = row->play(&p);
        if (!script_done(&p.script))
            fail_msg("model %d: %s", (int)model, p.script.broke);
        if (rc != row->want)
            fail_msg("model %d: %s (%s)", (int)model, err_name(rc), p.err.text);
        if (p.link.dead != row->dead)
            fail_msg("model %d: the link is %s (%s)", (int)model, p.link.dead ? "dead" : "alive",
                     p.err.text);
        da_deinit(&p.da);
        transcript_free(&p.t);
    }
}

/* A transcript without a row would look like a passing one. */
void play_all_have_rows(const char *folder, const struct play_row *rows, size_t count)
{
    char path[512];
    snprintf(path, sizeof(path), TRANSCRIPT_DIR "%s", folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (len < 5 || strcmp(e->d_name + len - 4, ".txt") != 0 ||
            strcmp(e->d_name, "CMakeLists.txt") == 0)
            continue;
        char name[300];
        snprintf(name, sizeof(name), "%s%s%.*s", folder[0] ? folder + 1 : "", folder[0] ? "/" : "",
                 (int)(len - 4), e->d_name);
        struct transcript *t = load(name);
        bool found = false;
        for (size_t i = 0; i < count; i++)
            found = found || strcmp(rows[i].name, name) == 0;
        if (!found)
            fail_msg("%s is not replayed", name);
        transcript_free(&t);
    }
    closedir(dir);
}
