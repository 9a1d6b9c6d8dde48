#include "usb/base/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/mem.h"
#include "usb/base/utf8.h"

struct walk {
    int dir_fd;
    size_t files_max;
    struct tree *tree;
};

static void name_keep(struct tree *t, const char *name)
{
    char escaped[PATH_MAX];
    if (utf8_is(name))
        t->names[t->count++] = xstrdup(name);
    else
        t->left_out[t->left_out_count++] =
            xstrdup(utf8_escape(name, escaped, sizeof(escaped)) ? escaped : "(a very long name)");
}

static int folder_walk(struct walk *w, const char *prefix, int depth, struct err *err);

static int entry_take(struct walk *w, const char *name, int depth, struct err *err)
{
    struct stat st;
    if (fstatat(w->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_sys(err, ERR_IO, "'%s'", name);
    if (S_ISDIR(st.st_mode))
        return depth < TREE_DEPTH_MAX ? folder_walk(w, name, depth + 1, err) : 0;
    if (!S_ISREG(st.st_mode))
        return 0;
    if (w->tree->count + w->tree->left_out_count == w->files_max)
        return err_set(err, ERR_LIMIT, "more than %zu files in the folder", w->files_max);
    name_keep(w->tree, name);
    return 0;
}

static int folder_walk(struct walk *w, const char *prefix, int depth, struct err *err)
{
    int fd = openat(w->dir_fd, prefix[0] ? prefix : ".",
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return err_sys(err, ERR_IO, "read folder '%s'", prefix);
    int rc = 0;
    for (struct dirent *d; rc >= 0 && (d = readdir(dir));) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        AUTO(free_ptr)
        char *name = prefix[0] ? xasprintf("%s/%s", prefix, d->d_name) : xstrdup(d->d_name);
        rc = entry_take(w, name, depth, err);
    }
    closedir(dir);
    return rc;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int tree_list(int dir_fd, size_t files_max, struct tree *out, struct err *err)
{
    struct tree made = {.names = xcalloc(files_max, sizeof(*made.names)),
                        .left_out = xcalloc(files_max, sizeof(*made.left_out))};
    struct walk w = {dir_fd, files_max, &made};
    int rc = folder_walk(&w, "", 0, err);
    if (rc < 0) {
        tree_deinit(&made);
        return rc;
    }
    qsort(made.names, made.count, sizeof(made.names[0]), name_compare);
    qsort(made.left_out, made.left_out_count, sizeof(made.left_out[0]), name_compare);
    *out = made;
    return 0;
}

void tree_deinit(struct tree *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->names[i]);
    for (size_t i = 0; i < t->left_out_count; i++)
        free(t->left_out[i]);
    free(t->names);
    free(t->left_out);
    *t = (struct tree){0};
}
