/* control.h: the control socket (--control PATH): one JSON object a line in, one out. Commands:
 * README, "Control socket". */
#ifndef FLASHRACK_TESTS_PHONE_CONTROL_H
#define FLASHRACK_TESTS_PHONE_CONTROL_H

#include <jansson.h>

#include "usb/base/err.h"

struct rack;
struct control_server;

int control_start(const char *path, struct rack *r, struct control_server **out, struct err *err);
void control_stop(struct control_server **c); /* removes the socket file */
/* The answer to one command, the caller's; never NULL. */
json_t *control_command(struct rack *r, const json_t *command);

#endif
