/* POSIX message queues, for the system calls. Errors as in the manual pages. */
#ifndef SENTRY_KERNEL_MQUEUE_H
#define SENTRY_KERNEL_MQUEUE_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <mqueue.h>
#include <stdbool.h>
#include <stdint.h>

struct file;
struct task;

/* `attr` NULL: the defaults. `name` without the leading slash. */
int must_check mqueue_open(struct task *t, const char *name, int flags, mode_t mode, const struct mq_attr *attr,
                           struct file **out);
int mqueue_unlink(struct task *t, const char *name);
/* Is it a queue descriptor? The functions below take no other. */
bool mqueue_is_file(const struct file *f);
/* `deadline`: CLOCK_MONOTONIC. `buf` is guest memory. mqueue_receive returns the message's size. */
int64_t mqueue_send(struct task *t, struct file *f, guest_addr buf, size_t len, unsigned int prio, int64_t deadline);
int64_t mqueue_receive(struct task *t, struct file *f, guest_addr buf, size_t len, unsigned int *prio, int64_t deadline);

#define MQUEUE_COOKIE_LEN 32

struct mqueue_notify {
    int how; /* SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD */
    int signo;
    union sigval value;
    /* SIGEV_THREAD: a netlink socket that gets `cookie`, with its last byte set. */
    struct file *sock;
    char cookie[MQUEUE_COOKIE_LEN];
};
/* NULL takes the caller's registration back. */
int mqueue_notify(struct task *t, struct file *f, const struct mqueue_notify *n);
/* `new_flags` NULL: only read. */
int mqueue_getsetattr(struct file *f, const long *new_flags, struct mq_attr *old);

#endif
