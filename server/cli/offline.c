#include "server/cli/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <unistd.h>

#include "usb/base/io.h"
#include "usb/base/mem.h"

const struct cli_command offline_commands[] = {
    {"scatter show", "FILE [--json]", "What a scatter file says, partition by partition.",
     scatter_show},
    {"scatter derive", "FILE --only NAME[=IMAGE],... [--section EMMC] -o OUT",
     "A copy of a scatter file that downloads exactly the named partitions.", scatter_derive_cmd},
    {"dump list", "FILE|FOLDER [--scatter FILE] [--offset BYTES] [--serial SERIAL] [--json]",
     "The partitions in a read-back dump (also packed), and whether they look right.\n"
     "Or single images, named like 13.proinfo.img, of a folder or an archive.",
     dump_list},
    {"dump extract",
     "FILE|FOLDER -o DIR [--only NAME,... | --identity] [--scatter FILE] [--offset BYTES]",
     "Partitions out of a dump into DIR/<name>.img, with DIR/SHA256SUMS.", dump_extract},
    {"serial", "SERIAL [--json]", "Checks a serial number and shows its dm-verity code.",
     serial_cmd},
    {"imei", "IMEI [--json]", "Checks an IMEI: digits, check digit, known placeholders.", imei_cmd},
    {"da show", "FILE [--json]", "The chips that a download agent file is for.", da_show},
    {"preloader show", "FILE [-o BLOCK] [--json]",
     "The memory settings (EMI) in a preloader file, and the block itself.", preloader_show},
    {"firmware check", "DIR [--fast] [--phone-version V] [--serial SERIAL] [--battery MV] [--json]",
     "What a firmware package is, what is wrong with it, and what each mode would write.\n"
     "With what is known of a phone also the gates V1 to V6: may the package go onto it?\n"
     "--battery: millivolts, or percent up to 100. Exit status 1 when a gate refuses.",
     firmware_check_cmd},
    {"firmware unpack", "ARCHIVE -o DIR",
     "Unpacks a .7z, .zip or .tar package into a new folder; goes on where it was cut off.",
     firmware_unpack},
    {"recipe check", "RECIPE [--firmware DIR] [--backup FILE] [--finish lk|upgrade] [--json]",
     "Proves that a recipe keeps the laws and, with a package, writes inside its plan only.\n\n"
     "--firmware DIR the package it is to be run with; the plan is printed\n"
     "--backup FILE  what GET /backups/ID answers; without it one that fits is assumed\n"
     "--finish       as of a job: lk (default) or upgrade",
     recipe_check_cmd},
    {"report verify", "FILE [--key KEY]... [--chain FILE...]",
     "Is a job's report what its station signed, and is none missing?\n\n"
     "--key KEY      the station's public key: 64 digits, or a file of 'flashrack report key -o'.\n"
     "               Without it the key in the report is taken: then compare its fingerprint.\n"
     "               Of a station that lost its key give each one it had, in their order\n"
     "--chain        all files, in the order of their numbers, are reports that follow each other",
     report_verify_cmd},
    {0},
};

int new_file_open(int dir_fd, const char *name, struct new_file *out, struct err *err)
{
    struct new_file f = {.dir_fd = dir_fd, .name = xstrdup(name)};
    f.part_name = xasprintf("%s.part", name);
    f.fd = openat(dir_fd, f.part_name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (f.fd < 0) {
        err_sys(err, ERR_IO, "create '%s'", f.part_name);
        free(f.name);
        free(f.part_name);
        return ERR_IO;
    }
    *out = f;
    return 0;
}

int new_file_commit(struct new_file *f, struct err *err)
{
    if (fsync(f->fd) < 0)
        return err_sys(err, ERR_IO, "write '%s'", f->name);
    if (renameat(f->dir_fd, f->part_name, f->dir_fd, f->name) < 0)
        return err_sys(err, ERR_IO, "rename to '%s'", f->name);
    free_ptr(&f->part_name);
    return 0;
}

void new_file_deinit(struct new_file *f)
{
    if (!f->name)
        return;
    if (f->part_name)
        unlinkat(f->dir_fd, f->part_name, 0);
    fd_close(&f->fd);
    free_ptr(&f->name);
    free_ptr(&f->part_name);
}

int new_file_write(const char *path, struct span data, struct err *err)
{
    AUTO(free_ptr) char *dir_copy = xstrdup(path);
    AUTO(free_ptr) char *base_copy = xstrdup(path);
    AUTO(fd_close) int dir = open(dirname(dir_copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_sys(err, ERR_IO, "open the folder of '%s'", path);
    AUTO(new_file_deinit) struct new_file f = {0};
    int rc = new_file_open(dir, basename(base_copy), &f, err);
    if (rc >= 0)
        rc = io_write(f.fd, data.data, data.len, err);
    return rc < 0 ? rc : new_file_commit(&f, err);
}
