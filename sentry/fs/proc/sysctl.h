/*
 * Rows of /proc/sys. A row that stands for plain numbers points at a `struct sysctl` with their initial values and bounds;
 * what is written lives beside it, per kernel (sysctl.c). Rows with a meaning elsewhere have functions of their own.
 */
#ifndef SENTRY_FS_PROC_SYSCTL_H
#define SENTRY_FS_PROC_SYSCTL_H

#include "sentry/fs/proc/proc.h"

#define SYSCTL_MAX_NUMBERS 4

struct sysctl {
    int nr;
    int64_t initial[SYSCTL_MAX_NUMBERS];
    int64_t min, max; /* of each number; outside: -EINVAL */
};

proc_show_fn sysctl_show;
proc_write_fn sysctl_write;
/* The numbers as they are now. */
void sysctl_get(struct kernel *k, const struct sysctl *which, int64_t out[SYSCTL_MAX_NUMBERS]);
/* For write functions: up to `nr` blank-separated numbers; how many there were, or -EINVAL. */
int sysctl_parse(const char *buf, int64_t *out, int nr);

#define SYSCTL_ROW(name_, mode_, show_, write_)                                                                     \
    {                                                                                                               \
        .name = (name_), .mode = S_IFREG | (mode_), .flags = PSEUDO_MODE_IS_LAW, .show = (show_), .write = (write_) \
    }
#define SYSCTL_TEXT(name_, text_)                                                             \
    {                                                                                         \
        .name = (name_), .mode = S_IFREG | 0444, .flags = PSEUDO_MODE_IS_LAW, .text = (text_) \
    }
#define SYSCTL_NUMBERS(name_, min_, max_, nr_, ...)                                                                       \
    {                                                                                                                     \
        .name = (name_), .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = sysctl_show, .write = sysctl_write, \
        .arg = &(const struct sysctl)                                                                                     \
        {                                                                                                                 \
            .nr = (nr_), .initial = {__VA_ARGS__}, .min = (min_), .max = (max_)                                           \
        }                                                                                                                 \
    }
#define SYSCTL_INT(name_, initial_, min_, max_) SYSCTL_NUMBERS(name_, min_, max_, 1, initial_)
#define SYSCTL_BOOL(name_, initial_)            SYSCTL_INT(name_, initial_, 0, 1)

extern const struct pseudo_desc sysctl_kernel_rows[], sysctl_vm_rows[], sysctl_fs_rows[], sysctl_net_rows[];

#endif
