/* First program in BOOT1: sets up DRAM, waits 2.5 s for a tool, then hands over to LK. README.md,
 * "Boot ROM and preloader". */
#include "tests/phone/rom.h"

#include <string.h>

#include "usb/base/mem.h"

enum {
    ROUND_MS = 20,  /* listening goes in rounds */
    START_MS = 300, /* from the first A0 to the end of the start sequence */
    TOKEN_BYTES = 8,
};

enum listen_result { LISTEN_CLOSED, LISTEN_TOOL, LISTEN_GONE };

/* Eight letters that pick another boot mode; answers are the letters backwards. Only fastboot is a
 * mode of its own here, the others boot on (README.md). */
static const struct {
    char token[TOKEN_BYTES + 1], answer[TOKEN_BYTES + 1];
    bool fastboot;
} tokens[] = {
    {"FASTBOOT", "TOOBTSAF", true},  {"METAMETA", "ATEMATEM", false},
    {"FACTFACT", "TCAFTCAF", false}, {"ADVEMETA", "ATEMEVDX", false},
    {"FACTORYM", "MYROTCAF", false}, {"SWITCHMD", "DMHCTIWS", false},
    {"AT+NBOOT", "AT+OK", false},
};

/* The start-command check: 300 ms for A0 0A 50 05, whose first A0 may be a repetition. */
static enum listen_result start_check(struct board *b)
{
    struct rom_window window = rom_window_open(START_MS);
    unsigned index = 0;
    while (index < BROM_START_BYTES) {
        uint8_t got, answer;
        int rc = board_out_stream(b, &got, 1, rom_window_left(&window));
        if (rc == BOARD_OK && board_out_manners(b) & OUT_MORE)
            board_violation(b, "rom.merged_fields");
        if (rc == BOARD_OK && brom_start_feed(&index, got, &answer))
            rc = board_in(b, &answer, 1, IN_FIELD, rom_window_left(&window));
        if (rc <
            0) /* time is up; a reset is met again, and told from a pulled cable, by the listener */
            return LISTEN_CLOSED;
    }
    return LISTEN_TOOL;
}

/* A whole token: answers it. True when it is one. */
static bool token_take(struct board *b, const uint8_t token[TOKEN_BYTES])
{
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        if (memcmp(token, tokens[i].token, TOKEN_BYTES) != 0)
            continue;
        board_trace(b, "preloader token %s", tokens[i].token);
        (void)board_in(b, tokens[i].answer, strlen(tokens[i].answer), IN_FIELD, ROUND_MS);
        if (tokens[i].fastboot)
            board_boot_target_set(b, TARGET_FASTBOOT, false);
        return true;
    }
    return false;
}

/* "READY" in every round once a tool has opened the port; a host that does not read loses it. */
static void announce(struct board *b, struct acm *acm)
{
    if (atomic_load(&acm->tool) || board_fault_due(b, "ready_noise"))
        (void)board_in(b, BROM_READY_TEXT, sizeof(BROM_READY_TEXT) - 1, IN_FIELD, ROUND_MS);
}

static enum listen_result preloader_listen(struct board *b, struct acm *acm,
                                           const struct rom_window *window)
{
    uint8_t token[TOKEN_BYTES];
    size_t have = 0;
    while (rom_window_left(window) != 0) {
        announce(b, acm);
        /* At most what the token lacks; A0 throws away what came in the same transfer, no more. */
        ssize_t n = board_out_transfer(b, token + have, sizeof(token) - have, ROUND_MS);
        if (n == BOARD_GONE && board_usb_configured(b, rom_window_left(window)) == BOARD_GONE)
            return LISTEN_GONE;
        if (n <= 0)
            continue;
        if (token[have] == brom_start_sequence[0]) {
            if (n > 1)
                board_violation(b, "rom.merged_fields");
            enum listen_result result = start_check(b);
            if (result != LISTEN_CLOSED)
                return result;
            have = 0;
            continue;
        }
        have += (size_t)n;
        if (have < sizeof(token))
            continue;
        if (token_take(b, token))
            return LISTEN_CLOSED;
        have = 0;
    }
    return LISTEN_CLOSED;
}

/* The USB part of a start: where it leads when a tool takes over, NEXT_LK when none does. */
static enum board_next preloader_usb(struct board *b, bool stay)
{
    struct acm acm;
    acm_init(&acm, ACM_PRELOADER);
    acm_id_set(&acm, board_settings(b)->preloader_vid, board_settings(b)->preloader_pid);
    if (board_usb_attach(b, &acm.gadget) < 0)
        return NEXT_LK;
    enum listen_result result = LISTEN_CLOSED;
    int rc = board_usb_configured(b, stay ? -1 : board_settings(b)->preloader_configure_ms);
    if (rc == BOARD_GONE)
        result = LISTEN_GONE;
    else if (rc == BOARD_OK) {
        struct rom_window window =
            rom_window_open(stay ? -1 : board_settings(b)->preloader_window_ms);
        result = preloader_listen(b, &acm, &window);
    }
    if (result == LISTEN_TOOL)
        return rom_command_loop(b, BROM_STAGE_PRELOADER, &acm);
    board_usb_detach(b);
    return NEXT_LK; /* also without the cable: the phone has been switched on */
}

enum board_next preloader_run(struct board *b)
{
    *board_ram(b) = (struct board_ram){.dram_up = true};
    bool stay = board_download_bit_take(b);
    if (!board_cable(b))
        return NEXT_LK;
    if (board_download_keys(board_settings(b), board_keys(b)))
        return NEXT_BROM; /* writes the download flag and resets */
    return preloader_usb(b, stay);
}
