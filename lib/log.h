/*
 * The debug log: one line a message, to a descriptor chosen at start-up (none by default, and then a call
 * costs one load). Safe from any thread. Never log guest memory contents: they may be secrets.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "lib/compiler.h"

#include <stdarg.h>
#include <stdbool.h>

enum log_level { LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Sends messages up to `max` to `fd`, which the log does not own; fd -1 turns the log off. */
void log_init(int fd, enum log_level max);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_at(level, ...)                 \
    do {                                   \
        if (log_enabled(level))            \
            log_write(level, __VA_ARGS__); \
    } while (0)

#endif
