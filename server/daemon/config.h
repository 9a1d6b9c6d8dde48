/* config.h: options of flashrackd. Each is a command-line option --name, a key `name = value` in --config FILE,
 * and a variable FLASHRACK_NAME; the command line wins over variables, variables over the file. */
#ifndef FLASHRACK_SERVER_DAEMON_CONFIG_H
#define FLASHRACK_SERVER_DAEMON_CONFIG_H

#include <stdbool.h>

#include "usb/base/err.h"

enum {
    CONFIG_LIST_MAX = 32,
    CONFIG_RECORD_KEEP_MAX = 4 << 20,
    CONFIG_JOBS_MAX = 4096,
    CONFIG_RETRIES_MAX = 10, CONFIG_VERIFY_EVERY_MAX = 366 * 86400,
    CONFIG_KEEP_BACKUPS_MAX = 100000
};

struct config {
    char *listen, *data, *web, *schema, *program_dir, *portwatch, *tls_cert, *tls_key, *log_format;
    char *backup_key, *old_backup_key;
    char *time_scale, *verify_every, *keep_backups, *record_keep, *jobs_max, *jobs_per_controller, *jobs_per_hub, *retries;
    char *usbip[CONFIG_LIST_MAX + 1], *import_dir[CONFIG_LIST_MAX + 1];
    char *copy_dir[CONFIG_LIST_MAX + 1], *host[CONFIG_LIST_MAX + 1];
    bool no_usb, allow_remote, new_station_key;
};

/* 0: go on; 1: --help or --version was printed; ERR_INPUT with the sentence. */
int config_load(struct config *c, int argc, char **argv, struct err *err);
void config_deinit(struct config *c);

#endif
