#include "lib/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Set once at start-up, before any other thread runs; the only process-wide state of the log. */
static atomic_int log_fd = -1;
static atomic_int log_max = LOG_LEVEL_WARN;

void log_init(int fd, enum log_level max)
{
    atomic_store(&log_max, max);
    atomic_store(&log_fd, fd);
}

bool log_enabled(enum log_level level)
{
    return atomic_load_explicit(&log_fd, memory_order_relaxed) >= 0 &&
           (int)level <= atomic_load_explicit(&log_max, memory_order_relaxed);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    static const char letters[] = "WID";
    char line[1024];
    struct timespec now;
    va_list ap;
    int len, n;

    clock_gettime(CLOCK_REALTIME, &now);
    len = snprintf(line, sizeof(line), "%c %lld.%06ld %ld ", letters[level], (long long)now.tv_sec, now.tv_nsec / 1000,
                   (long)syscall(SYS_gettid));
    va_start(ap, fmt);
    n = vsnprintf(line + len, sizeof(line) - (size_t)len - 1, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    len += n;
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len++] = '\n';
    /* A log that cannot be written has nowhere to complain. */
    if (write(atomic_load(&log_fd), line, (size_t)len) < 0)
        return;
}
