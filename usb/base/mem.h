/* mem.h: small helpers of ownership. AUTO(fn) runs fn(&variable) when the variable leaves its scope;
 * STEAL(p) hands the value on and leaves NULL (or -1) behind. */
#ifndef FLASHRACK_USB_BASE_MEM_H
#define FLASHRACK_USB_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

#define AUTO(fn) __attribute__((cleanup(fn)))
#define STEAL(p) __extension__({ __typeof__(p) stolen_ = (p); (p) = NULL; stolen_; })
#define STEAL_FD(fd) __extension__({ int stolen_ = (fd); (fd) = -1; stolen_; })
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

/* Zeroed memory for small sizes that we choose ourselves; aborts when there is none. Sizes that a
 * device, file or request names go through struct buf. */
void *xcalloc(size_t count, size_t size);
char *xstrdup(const char *s); /* NULL stays NULL */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A copy of a NULL-terminated list of texts; a NULL list gives an empty one. */
char **list_copy(const char *const *list);
void list_free(char ***list); /* and its texts; usable with AUTO */
void fd_close(int *fd);    /* -1 stays -1; sets -1 */
void free_ptr(void *p);    /* AUTO(free_ptr) char *s: frees *p, sets NULL */

#endif
