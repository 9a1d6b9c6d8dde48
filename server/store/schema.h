/* schema.h: the migrations of schema/sql, embedded when the program is built (schema.cmake). */
#ifndef FLASHRACK_SERVER_STORE_SCHEMA_H
#define FLASHRACK_SERVER_STORE_SCHEMA_H

#include "usb/base/err.h"

struct schema {
    const char *file;             /* name in the data folder */
    const char *const *migration; /* migration[i] brings version i to i + 1 */
    int version;                  /* how many there are: what this build speaks */
};
extern const struct schema schema_station, schema_backups;

/* Brings the file in data_dir to schema->version, a copy is kept before an existing one is changed.
 * ERR_CONFLICT: it is newer than this build. Blocking. */
int schema_migrate(const struct schema *schema, const char *data_dir, struct err *err);

#endif
