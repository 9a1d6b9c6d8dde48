/* offline.h: the commands that need no server, one file a noun. */
#ifndef FLASHRACK_SERVER_CLI_OFFLINE_H
#define FLASHRACK_SERVER_CLI_OFFLINE_H

#include "server/cli/cli.h"
#include "usb/base/span.h"

int scatter_show(const struct cli_command *self, int argc, char **argv);
int scatter_derive_cmd(const struct cli_command *self, int argc, char **argv);
int dump_list(const struct cli_command *self, int argc, char **argv);
int dump_extract(const struct cli_command *self, int argc, char **argv);
int imei_cmd(const struct cli_command *self, int argc, char **argv);
int serial_cmd(const struct cli_command *self, int argc, char **argv);
int da_show(const struct cli_command *self, int argc, char **argv);
int preloader_show(const struct cli_command *self, int argc, char **argv);
int firmware_check_cmd(const struct cli_command *self, int argc, char **argv);
int firmware_unpack(const struct cli_command *self, int argc, char **argv);
int recipe_check_cmd(const struct cli_command *self, int argc, char **argv);
int report_verify_cmd(const struct cli_command *self, int argc, char **argv);

/* A new file that appears under its name whole or not at all: write to `fd`, then commit. Not
 * committed, nothing is left behind. */
struct new_file {
    int dir_fd, fd;
    char *name, *part_name;
};
int new_file_open(int dir_fd, const char *name, struct new_file *out, struct err *err);
int new_file_commit(struct new_file *f, struct err *err); /* fsync, rename */
void new_file_deinit(struct new_file *f);
/* All of it at once, at any path. */
int new_file_write(const char *path, struct span data, struct err *err);

/* firmware_cmd.c: the package in a folder, judged; read_all: every file is read and hashed. */
struct firmware;
int firmware_of_folder(const char *path, bool read_all, struct firmware **out, struct err *err);

#endif
