/* tree.h: the regular files below a folder, as a package of them is looked at. Links are not
 * followed, folders deeper than TREE_DEPTH_MAX not entered. */
#ifndef FLASHRACK_USB_BASE_TREE_H
#define FLASHRACK_USB_BASE_TREE_H

#include <stddef.h>

#include "usb/base/err.h"

#define TREE_DEPTH_MAX 4

struct tree {
    char **names; /* relative, '/' between folders, sorted by bytes */
    size_t count;
    char **left_out; /* escaped (utf8.h): names that are no UTF-8, which nobody can order by name */
    size_t left_out_count;
};
/* ERR_LIMIT when there are more than `files_max` files. `dir_fd` stays the caller's. */
int tree_list(int dir_fd, size_t files_max, struct tree *out, struct err *err);
void tree_deinit(struct tree *t); /* usable with AUTO */

#endif
