/* log.h: one line an event on stderr: level=warn mod=job port=... job=183 err=device_gone msg="...".
 * Whoever handles an error logs it, once; format, codec and proto return errors and do not log. Values
 * are quoted when they need it, control characters are escaped, each value is cut at 300 bytes. */
#ifndef FLASHRACK_USB_BASE_LOG_H
#define FLASHRACK_USB_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *key, *value; /* a NULL key ends a list; a NULL value is left out */
};

void log_level_set(enum log_level least);
void log_json_set(int on); /* --log-format json */
void log_program_set(const char *name);
/* Fields may be NULL. Thread-safe: one write(2) a line. */
void log_line(enum log_level level, const char *mod, const struct log_field *fields,
              const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* log_line() with fields written in place: LOGF(LOG_WARN, "job", "port", port, "err", name)(...) reads
 * badly, so: LOG_KV({"port", port}, {"err", name}) */
#define LOG_KV(...) ((const struct log_field[]){__VA_ARGS__, {0}})

#endif
