/* dbcopy.h: copies of both databases and checks of them, in LANE_COPY. */
#ifndef FLASHRACK_SERVER_STORE_DBCOPY_H
#define FLASHRACK_SERVER_STORE_DBCOPY_H

#include "server/store/lane.h"

/* What a person does about a damaged database; stands behind the sentence that names the damage. */
#define DAMAGE_ADVICE                                                                              \
    "Nothing was changed. Keep the damaged files; put station.db and backups.db of the newest "    \
    "copy (DATA/copies, made by 'flashrack db backup') in their place, without -wal and -shm "     \
    "files. Without a copy: sqlite3 FILE .recover | sqlite3 NEWFILE"

/* Reads both databases before the store is used. ERR_VERIFY when one is damaged. What takes longer
 * than wait_ms (0, < 0: store_config) goes on in the background: it is logged, and store_damage() tells it. */
int dbcopy_check_at_start(struct store *s, int wait_ms, struct err *err);

#endif
