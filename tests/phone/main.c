/* main.c: the program emulated-x5. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/phone/layout.h"
#include "tests/phone/rack.h"
#include "tests/phone/usb_device.h"
#include "usb/base/clock.h"
#include "usb/base/log.h"
#include "usb/base/mem.h"
#include "usb/transport/fault.h"

enum { EXIT_USAGE = 2, REPEATS_MAX = 256 };

static const char usage[] =
    "usage: emulated-x5 [options]\n"
    "A rack of emulated Nokia X5 phones on USB/IP (or, with --vhci, on this kernel's own bus).\n"
    "\n"
    "  --listen HOST:PORT   USB/IP server (default 127.0.0.1:3240; port 0: any free one)\n"
    "  --phones N           bus ids 1-1 to 1-N (default 1)\n"
    "  --state DIR          one folder a phone: flash, label, power; made when missing, kept\n"
    "                       between runs (default ./x5-state)\n"
    "  --profile NAME       of phones that are made: tiny, mini (default), mini64, full, full64\n"
    "  --seed N             which phones are made, and every chance (default 1)\n"
    "  --slot a|b           active slot of phones that are made (default a)\n"
    "  --firmware VERSION   of phones that are made (default " FACTORY_VERSION "); PDA-2...\n"
    "                       is Android 9, PDA-3... Android 10\n"
    "  --tac DIGITS         type code in the IMEIs of phones that are made (default 00199901)\n"
    "  --sys8-9 NAME,NAME   the partitions at SYS8 and SYS9 of phones that are made\n"
    "                       (default md_udc,metadata)\n"
    "  --hands auto|none    a person who presses keys, plugs, and powers on as the procedure asks\n"
    "                       (default none)\n"
    "  --hands-speed X      divides that person's delays (default 1)\n"
    "  --time-scale X       stretches every window and time-out (default 1)\n"
    "  --control PATH       unix socket, one JSON object a line: {\"phone\":\"1-3\",\"do\":WHAT}\n"
    "                       WHAT: hold release (\"keys\": vol_up vol_down power) plug unplug\n"
    "                       power_long force_off state screen fault (\"fault\": SPEC)\n"
    "                       settings (\"set\": {}) violations bytes_written\n"
    "                       swap (\"with\": phone)\n"
    "  --fault PHONE:SPEC   SPEC: KIND[@transfer=N][@control=N][@byte=N][@step=S][@seed=N][@ms=N]\n"
    "                       [@status=N][@area=A]; KIND: see the end; repeatable\n"
    "  --list-faults        every KIND, who makes it happen (wire, phone), and what it is; one a "
    "line,\n"
    "                       separated by tabs\n"
    "  --set [PHONE:]NAME=VALUE  a setting of the phone, see tests/phone/README.md; repeatable\n"
    "  --vhci               attach every phone to this kernel through vhci_hcd\n"
    "  --verbose            trace what the phones do\n"
    "  --help, --version\n"
    "\n"
    "Faults:\n";

enum {
    OPT_LISTEN = 256,
    OPT_PHONES,
    OPT_STATE,
    OPT_PROFILE,
    OPT_SEED,
    OPT_SLOT,
    OPT_FIRMWARE,
    OPT_TAC,
    OPT_SYS8_9,
    OPT_HANDS,
    OPT_HANDS_SPEED,
    OPT_TIME_SCALE,
    OPT_CONTROL,
    OPT_FAULT,
    OPT_LIST_FAULTS,
    OPT_SET,
    OPT_VHCI,
    OPT_VERBOSE,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option options[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"phones", required_argument, NULL, OPT_PHONES},
    {"state", required_argument, NULL, OPT_STATE},
    {"profile", required_argument, NULL, OPT_PROFILE},
    {"seed", required_argument, NULL, OPT_SEED},
    {"slot", required_argument, NULL, OPT_SLOT},
    {"firmware", required_argument, NULL, OPT_FIRMWARE},
    {"tac", required_argument, NULL, OPT_TAC},
    {"sys8-9", required_argument, NULL, OPT_SYS8_9},
    {"hands", required_argument, NULL, OPT_HANDS},
    {"hands-speed", required_argument, NULL, OPT_HANDS_SPEED},
    {"time-scale", required_argument, NULL, OPT_TIME_SCALE},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"fault", required_argument, NULL, OPT_FAULT},
    {"list-faults", no_argument, NULL, OPT_LIST_FAULTS},
    {"set", required_argument, NULL, OPT_SET},
    {"vhci", no_argument, NULL, OPT_VHCI},
    {"verbose", no_argument, NULL, OPT_VERBOSE},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

static const char *faults[REPEATS_MAX], *settings[REPEATS_MAX];

static int parse_factor(const char *text, double *out, struct err *err)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v >= 0.001 && v <= 1000))
        return err_set(err, ERR_INPUT, "'%s' is not a factor from 0.001 to 1000", text);
    *out = v;
    return 0;
}

static int parse_count(const char *text, unsigned max, unsigned *out, struct err *err)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end || v < 1 || v > max)
        return err_set(err, ERR_INPUT, "'%s' is not a number from 1 to %u", text, max);
    *out = (unsigned)v;
    return 0;
}

static int parse_seed(const char *text, uint64_t *out, struct err *err)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)text[0]) || *end || errno)
        return err_set(err, ERR_INPUT, "'%s' is not a seed: a number of 64 bits", text);
    *out = v;
    return 0;
}

static int repeat(const char **list, size_t *count, const char *value, struct err *err)
{
    if (*count == REPEATS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d times the same option", REPEATS_MAX);
    list[(*count)++] = value;
    return 0;
}

/* A word out of two. */
static int parse_choice(const char *text, const char *no, const char *yes, bool *out,
                        struct err *err)
{
    if (strcmp(text, no) != 0 && strcmp(text, yes) != 0)
        return err_set(err, ERR_INPUT, "'%s' is neither %s nor %s", text, no, yes);
    *out = strcmp(text, yes) == 0;
    return 0;
}

static int apply_option(int option, const char *value, struct rack_order *o, struct err *err)
{
    double factor = 1;
    bool slot_b = false;
    int rc = 0;
    switch (option) {
    case OPT_LISTEN:
        o->listen = value;
        break;
    case OPT_PHONES:
        return parse_count(value, RACK_PHONES_MAX, &o->phones, err);
    case OPT_STATE:
        o->state = value;
        break;
    case OPT_PROFILE:
        return factory_profile_parse(value, &o->profile, err);
    case OPT_SEED:
        return parse_seed(value, &o->seed, err);
    case OPT_SLOT:
        rc = parse_choice(value, "a", "b", &slot_b, err);
        o->slot = slot_b ? 'b' : 'a';
        break;
    case OPT_FIRMWARE:
        rc = factory_version_check(value, err);
        o->version = value;
        break;
    case OPT_TAC:
        rc = factory_tac_check(value, err);
        o->tac = value;
        break;
    case OPT_SYS8_9:
        return layout_names_set(value, err);
    case OPT_HANDS:
        return parse_choice(value, "none", "auto", &o->hands, err);
    case OPT_HANDS_SPEED:
        return parse_factor(value, &o->hands_speed, err);
    case OPT_TIME_SCALE:
        rc = parse_factor(value, &factor, err);
        clock_scale_set(factor);
        break;
    case OPT_CONTROL:
        o->control = value;
        break;
    case OPT_FAULT:
        return repeat(faults, &o->fault_count, value, err);
    case OPT_SET:
        return repeat(settings, &o->setting_count, value, err);
    case OPT_VHCI:
        o->vhci = true;
        break;
    case OPT_VERBOSE:
        log_level_set(LOG_DEBUG);
        break;
    default:
        rc = err_set(err, ERR_INPUT, "try --help");
    }
    return rc;
}

static void list_faults(void)
{
    for (int k = FAULT_NONE + 1; k < FAULT_KIND_COUNT; k++)
        printf("%s\t%s\t%s\n", fault_kind_word(k),
               fault_kind_actor(k) == FAULT_BY_WIRE ? "wire" : "phone", fault_kind_text(k));
}

static void help(void)
{
    fputs(usage, stdout);
    for (int k = FAULT_NONE + 1; k < FAULT_KIND_COUNT; k++)
        printf("  %-17s %s\n", fault_kind_word(k), fault_kind_text(k));
}

/* Answers that end the program; false for every other option. */
static bool answered(int option)
{
    if (option == OPT_HELP)
        help();
    else if (option == OPT_VERSION)
        puts("emulated-x5 " FLASHRACK_VERSION);
    else if (option == OPT_LIST_FAULTS)
        list_faults();
    else
        return false;
    return true;
}

/* 0: go on; ERR_INPUT; 1: all is said. */
static int parse_options(int argc, char **argv, struct rack_order *o, struct err *err)
{
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (answered(option))
            return 1;
        int rc = apply_option(option, optarg, o, err);
        if (rc < 0)
            return rc;
    }
    return optind == argc ? 0 : err_set(err, ERR_INPUT, "'%s': try --help", argv[optind]);
}

int main(int argc, char **argv)
{
    struct rack_order order = {
        .listen = "127.0.0.1:3240",
        .state = "x5-state",
        .phones = 1,
        .profile = PROFILE_MINI,
        .seed = 1,
        .slot = 'a',
        .hands_speed = 1,
        .faults = faults,
        .settings = settings,
    };
    struct err err = {0};
    struct rack *rack = NULL;
    sigset_t ends;
    int signal_number;
    log_program_set("emulated-x5");
    int rc = parse_options(argc, argv, &order, &err);
    if (rc < 0)
        fprintf(stderr, "emulated-x5: %s\n", err.text);
    if (rc != 0)
        return rc < 0 ? EXIT_USAGE : EXIT_SUCCESS;

    /* Transfers of a MiB come and go by the thousand: keep their memory instead of mapping each. */
    mallopt(M_MMAP_THRESHOLD, URB_BYTES_MAX);
    mallopt(M_TRIM_THRESHOLD, URB_BYTES_MAX);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* inherited by every thread */
    rc = rack_start(&order, &rack, &err);
    if (rc < 0) {
        fprintf(stderr, "emulated-x5: %s\n", err.text);
        /* a fault, a setting or an address that is none, a phone that is not in this rack */
        return rc == ERR_INPUT || rc == ERR_NOT_FOUND ? EXIT_USAGE : EXIT_FAILURE;
    }
    printf("ready: %u phones on %s\n", order.phones, rack_address(rack));
    fflush(stdout);
    sigwait(&ends, &signal_number);
    rack_stop(&rack);
    return EXIT_SUCCESS;
}
