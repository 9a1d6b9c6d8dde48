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

/* Brings the file in data_dir to schema->version; an existing one is checked and a copy of it kept before
 * it is changed. ERR_CONFLICT: it is newer than this build. ERR_VERIFY: it is damaged. Blocking. */
int schema_migrate(const struct schema *schema, const char *data_dir, struct err *err);

/* Makes the file before SQLite does: identities are in it, nobody else shall read them. */
int schema_create_private(const char *path, struct err *err);
/* fsync; flags: O_RDWR for a file, O_RDONLY | O_DIRECTORY for a folder. */
int schema_sync(const char *path, int flags, struct err *err);

#endif
