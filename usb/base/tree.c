#include "usb/base/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usb/base/mem.h"

struct walk {
    int dir_fd;
    size_t files_max;
    struct tree *tree;
};

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
    if (w->tree->count == w->files_max)
        return err_set(err, ERR_LIMIT, "more than %zu files in the folder", w->files_max);
    w->tree->names[w->tree->count++] = xstrdup(name);
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
    struct tree made = {.names = xcalloc(files_max, sizeof(*made.names))};
    struct walk w = {dir_fd, files_max, &made};
    int rc = folder_walk(&w, "", 0, err);
    if (rc < 0) {
        tree_deinit(&made);
        return rc;
    }
    qsort(made.names, made.count, sizeof(made.names[0]), name_compare);
    *out = made;
    return 0;
}

void tree_deinit(struct tree *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->names[i]);
    free(t->names);
    *t = (struct tree){0};
}
