/* table.h: aligned columns for people, and the words in them. Phones name themselves: every cell is made
 * printable. */
#ifndef FLASHRACK_SERVER_CLI_TABLE_H
#define FLASHRACK_SERVER_CLI_TABLE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct table;
/* `heads`: "ID\0STATE\0PORT\0", one name a column. */
struct table *table_new(const char *heads);
/* Cells from left to right, row by row; NULL and "" show as "-". */
void table_cell(struct table *t, const char *text);
void table_print(const struct table *t); /* on stdout */
void table_free(struct table **t);

/* Member `key` as text: strings, whole numbers; NULL for null, absent and the rest. One of eight buffers, reused. */
const char *text_of(json_t *object, const char *key);
/* text_of() or "-", printable. */
const char *text_or_dash(json_t *object, const char *key);
/* "2026-11-22T10:00:00.000Z" in local time, "2026-11-22 11:00:00"; NULL stays NULL. Reused like text_of. */
const char *text_time(json_t *object, const char *key);
/* Seconds of that time since 1970, -1 when there is none. */
double seconds_of(json_t *object, const char *key);
/* "3 min 12 s"; reused like text_of. */
const char *text_duration(double seconds);

#endif
