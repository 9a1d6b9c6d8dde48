#include "usb/archive/reader.h"

#include <errno.h>
#include <unistd.h>

#include "usb/base/mem.h"

enum { BLOCK_BYTES = 1 << 18 };

int archive_reader_error(struct archive *a, struct err *err)
{
    const char *text = archive_error_string(a);
    if (archive_errno(a) == ENOMEM)
        return err_set(err, ERR_LIMIT, "archive: needs more memory than there is");
    /* Asking before a format was recognised makes libarchive 3.6 read what it has not set up. */
    if (archive_format(a) != 0 && archive_read_has_encrypted_entries(a) > 0)
        return err_set(err, ERR_FORMAT, "the archive is protected by a password: unpack it first");
    return err_set(err, ERR_FORMAT, "archive: %s", text ? text : "damaged");
}

static void set_up(struct archive *a, bool raw)
{
    archive_read_support_filter_none(a);
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_format_7zip(a);
    archive_read_support_format_zip(a);
    archive_read_support_format_tar(a);
    if (raw)
        archive_read_support_format_raw(a);
}

int archive_reader_open(int fd, bool raw, struct archive **out, struct err *err)
{
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, ERR_IO, "rewind the archive");
    AUTO(archive_reader_free) struct archive *a = archive_read_new();
    if (!a)
        return err_set(err, ERR_LIMIT, "archive: no memory");
    set_up(a, raw);
    if (archive_read_open_fd(a, fd, BLOCK_BYTES) != ARCHIVE_OK)
        return archive_reader_error(a, err);
    *out = STEAL(a);
    return 0;
}

int archive_reader_next(struct archive *a, struct archive_entry **out, struct err *err)
{
    int rc = archive_read_next_header(a, out);
    if (rc == ARCHIVE_EOF)
        return 0;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return archive_reader_error(a, err);
    return 1;
}

const char *archive_reader_name(struct archive_entry *e)
{
    const char *name = archive_entry_pathname_utf8(e);
    return name ? name : archive_entry_pathname(e);
}

void archive_reader_free(struct archive **a)
{
    if (*a)
        archive_read_free(*a);
    *a = NULL;
}
