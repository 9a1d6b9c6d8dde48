#include "server/http/http.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "usb/base/clock.h"
#include "usb/base/mem.h"

static int64_t start_ms;

__attribute__((constructor)) static void start_note(void)
{
    start_ms = clock_utc_ms();
}

static long resident_pages(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long total = 0, resident = 0;
    if (f) {
        if (fscanf(f, "%ld %ld", &total, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return resident;
}

static long open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    long count = -3; /* ".", "..", and the one that reads the folder */
    while (d && readdir(d))
        count++;
    if (d)
        closedir(d);
    return count;
}

char *http_process_metrics(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu_s = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                   (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    return xasprintf("# HELP process_resident_memory_bytes Resident memory of flashrackd.\n"
                     "# TYPE process_resident_memory_bytes gauge\n"
                     "process_resident_memory_bytes %lld\n"
                     "# HELP process_cpu_seconds_total User and system time.\n"
                     "# TYPE process_cpu_seconds_total counter\n"
                     "process_cpu_seconds_total %.3f\n"
                     "# HELP process_open_fds Open descriptors.\n"
                     "# TYPE process_open_fds gauge\n"
                     "process_open_fds %ld\n"
                     "# HELP process_start_time_seconds When the station started, UTC.\n"
                     "# TYPE process_start_time_seconds gauge\n"
                     "process_start_time_seconds %.3f\n",
                     (long long)resident_pages() * sysconf(_SC_PAGESIZE), cpu_s, open_descriptors(),
                     (double)start_ms / 1000);
}
