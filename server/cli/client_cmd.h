/* client_cmd.h: the commands that talk to a station, one file a kind, and what they share. */
#ifndef FLASHRACK_SERVER_CLI_CLIENT_CMD_H
#define FLASHRACK_SERVER_CLI_CLIENT_CMD_H

#include "server/cli/cli.h"
#include "server/cli/client.h"

/* list_cmd.c */
int ports_cmd(const struct cli_command *self, int argc, char **argv);
int phones_cmd(const struct cli_command *self, int argc, char **argv);
int jobs_cmd(const struct cli_command *self, int argc, char **argv);
int backups_cmd(const struct cli_command *self, int argc, char **argv);
int firmware_list_cmd(const struct cli_command *self, int argc, char **argv);
int topology_show(struct client *c, bool json); /* topology_cmd.c */
/* job_cmd.c */
int job_cmd(const struct cli_command *self, int argc, char **argv);
int restore_cmd(const struct cli_command *self, int argc, char **argv);
int order_cmd(const struct cli_command *self, int argc, char **argv);
int cancel_cmd(const struct cli_command *self, int argc, char **argv);
int pause_cmd(const struct cli_command *self, int argc, char **argv);
int resume_cmd(const struct cli_command *self, int argc, char **argv);
/* report_cmd.c */
int report_get_cmd(const struct cli_command *self, int argc, char **argv);
int report_key_cmd(const struct cli_command *self, int argc, char **argv);
/* port_cmd.c */
int port_label_cmd(const struct cli_command *self, int argc, char **argv);
int port_enable_cmd(const struct cli_command *self, int argc, char **argv);
int port_disable_cmd(const struct cli_command *self, int argc, char **argv);
int port_takes_work_cmd(const struct cli_command *self, int argc, char **argv);
/* Also while its last job goes on, which its state does not tell. */
bool port_is_out_of_use(json_t *port);
const char *port_use_note(json_t *port); /* what its state does not tell; NULL: nothing */
/* calibrate_cmd.c */
int calibrate_cmd(const struct cli_command *self, int argc, char **argv);
/* answer_cmd.c */
int answer_cmd(const struct cli_command *self, int argc, char **argv);
/* backup_cmd.c */
int backup_verify_cmd(const struct cli_command *self, int argc, char **argv);
int backup_prune_cmd(const struct cli_command *self, int argc, char **argv);
int backup_pin_cmd(const struct cli_command *self, int argc, char **argv);
int backup_export_cmd(const struct cli_command *self, int argc, char **argv);
int backup_ids(struct client *c, json_t *ids); /* list_cmd.c; appends those of all backups that have images */
/* conflict_cmd.c */
int conflicts_cmd(const struct cli_command *self, int argc, char **argv);
int conflicts_list(struct client *c, bool all,
                   bool json); /* list_cmd.c; `all`: resolved ones, too */
/* input_cmd.c */
int import_dump_cmd(const struct cli_command *self, int argc, char **argv);
int firmware_add_cmd(const struct cli_command *self, int argc, char **argv);
/* db_cmd.c */
int db_backup_cmd(const struct cli_command *self, int argc, char **argv);
int db_check_cmd(const struct cli_command *self, int argc, char **argv);
/* failures_cmd.c */
int failures_cmd(const struct cli_command *self, int argc, char **argv);
/* events_cmd.c */
int events_cmd(const struct cli_command *self, int argc, char **argv);
/* doctor_cmd.c */
int doctor_cmd(const struct cli_command *self, int argc, char **argv);

/* Each gives CMD_GO_ON, or the exit status after telling what is wrong. */
enum { CMD_GO_ON = -1 };
/* Reads the options and wants exactly `count` other arguments ("what is needed" otherwise). */
int client_arguments(const struct cli_command *self, int argc, char **argv,
                     const struct cli_option *options, int count, const char *needed);
int station_open(const struct client_options *common, struct client **out);
/* Both, for commands that have nothing more to check. */
int client_begin(const struct cli_command *self, int argc, char **argv,
                 const struct cli_option *options, const struct client_options *common, int count,
                 const char *needed, struct client **out);
/* POST whose answer may take minutes; `body` stays the caller's. */
int client_work(struct client *c, const char *path, json_t *body, json_t **out, struct err *err);
/* Tells the error and the advice that came with it. */
int client_fail(const struct client *c, const struct err *err);
void client_json_free(json_t **j); /* for AUTO */

/* follow.c: shows the job until it has ended; CLI_FINE only when it succeeded. With json its last state is printed
 * as JSON, and what a person should see goes to stderr. */
int job_follow(struct client *c, const char *job_id, bool json);
/* job_cmd.c: a job with its steps, for people. */
void job_print(json_t *job);
/* CLI_FINE when the job succeeded; else tells why it did not. */
int job_verdict(json_t *job);
bool job_has_ended(json_t *job);

/* Stands behind a sentence that names a damaged database. */
#define DAMAGE_TODO                                                                                \
    "Order no more jobs; the newest copy that is whole can be put in place of the files: see "     \
    "'flashrack db backup --help'."

/* answer_cmd.c: what a person reads on the phone, as POST answer wants it. */
struct phone_numbers {
    const char *serial, *wlan_mac, *bt_mac;
    const char *imeis[CLI_VALUES_MAX + 1]; /* NULL ends */
};
/* Sends it and waits for what the phone's job makes of it: CLI_FINE when it is taken, ERR_MISMATCH with *job_out when
 * the job asks again. `prompt`: the job's, as it was shown. */
int prompt_answer(struct client *c, const char *job_id, json_t *prompt, const char *answer,
                  const struct phone_numbers *numbers, json_t **job_out, struct err *err);

#endif
