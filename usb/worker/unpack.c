/* unpack.c: a packed firmware package into the one folder that this worker may write to. */
#include <stdio.h>
#include <string.h>

#include "usb/archive/unpack.h"
#include "usb/worker/runs.h"

static int on_tick(void *arg, const char *file, uint64_t done_bytes, struct err *err)
{
    (void)file;
    (void)done_bytes;
    struct host *h = arg;
    host_tick(h);
    return h->server_gone ? err_set(err, ERR_CANCELLED, "the station ended") : 0;
}

int run_unpack(struct host *h, const char *text, size_t len, struct wire_done *done,
               struct err *err)
{
    (void)text;
    (void)len;
    if (h->folder_fd < 0 || h->input_count != 1)
        return err_set(err, ERR_INTERNAL, "unpacking needs a folder and one archive");
    struct unpack_result result = {0};
    int rc = archive_unpack(h->inputs[0].fd, h->folder_fd, &UNPACK_LIMITS_DEFAULT, on_tick, h,
                            &result, err);
    if (rc < 0)
        return rc;
    done->result =
        json_pack("{s:i, s:I}", "files", (int)result.files, "bytes", (json_int_t)result.bytes);
    return 0;
}
