/* db.h: one SQLite connection: statements prepared once, parameters bound by name from a JSON
 * object, rows as JSON objects. Used by one thread at a time.
 *
 * A column's alias names its key and how it is printed: `SELECT id AS "id:id", created_ms AS
 * "created_at:time", imeis AS "imeis:json", enabled AS "enabled:bool", label`. id: number as a
 * string; time: milliseconds UTC as RFC 3339; json: text that is JSON; bool. Null stays null. */
#ifndef FLASHRACK_SERVER_STORE_DB_H
#define FLASHRACK_SERVER_STORE_DB_H

#include <jansson.h>
#include <sqlite3.h>
#include <stdbool.h>

#include "usb/base/err.h"
#include "usb/base/span.h"

struct db;

/* read_only: writes are refused (the file must exist). ERR_VERIFY: it is damaged, or no database. */
int db_open(const char *path, bool read_only, struct db **db_out, struct err *err);
void db_close(struct db **db);
/* One or more statements without parameters and rows. */
int db_exec(struct db *db, const char *sql, struct err *err);
/* True inside BEGIN: false means that SQLite gave the transaction up by itself. */
bool db_in_transaction(struct db *db);
/* Since it was opened; only whether two answers differ means something. */
int db_pages_written(struct db *db);

/* `sql` below is a static string: its address finds the prepared statement. Every :name in it must
 * be a key of params (null is a value); lists and objects are bound as JSON text. */
/* Rows changed. */
int db_run(struct db *db, const char *sql, json_t *params, struct err *err);
/* Id of the new row. */
int64_t db_insert(struct db *db, const char *sql, json_t *params, struct err *err);
/* 1 and a new reference, or 0 when there is no row. */
int db_row(struct db *db, const char *sql, json_t *params, json_t **row_out, struct err *err);
/* Appends every row to `array`; their number. */
int db_rows(struct db *db, const char *sql, json_t *params, json_t *array, struct err *err);
/* Appends the first column of every row. */
int db_column(struct db *db, const char *sql, json_t *params, json_t *array, struct err *err);

/* For blobs: the statement itself, reset. Bind with db_bind_*, step with db_step, end with
 * db_reset. */
int db_prepare(struct db *db, const char *sql, sqlite3_stmt **stmt_out, struct err *err);
void db_bind_blob(sqlite3_stmt *stmt, const char *name,
                  struct span value); /* borrowed until db_reset */
void db_bind_int(sqlite3_stmt *stmt, const char *name, int64_t value);
/* 1: a row; 0: done. */
int db_step(struct db *db, sqlite3_stmt *stmt, struct err *err);
void db_reset(sqlite3_stmt **stmt); /* for AUTO(db_reset) */

/* Copies what the connection sees within its transaction, which must be open, over the file at
 * `path`; the caller syncs it. `stop` is asked every some megabytes, true ends it with
 * ERR_CANCELLED. */
int db_copy(struct db *db, const char *path, bool (*stop)(void *arg), void *arg, struct err *err);
/* Reads the whole file and appends what is wrong with it, as texts. `full` compares tables and
 * indexes, too. */
int db_check(struct db *db, bool full, json_t *problems, struct err *err);
/* Ends what the connection is doing with ERR_CANCELLED. From any thread, before db_close(). */
void db_interrupt(struct db *db);

/* EXPLAIN QUERY PLAN of every statement prepared so far, as "sql\n  plan line\n"; for the test that
 * no big table is scanned. The caller frees it. */
char *db_plans(struct db *db);

#endif
