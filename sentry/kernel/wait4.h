/* Waiting for children: what wait4(2) and waitid(2) share. */
#ifndef SENTRY_KERNEL_WAIT4_H
#define SENTRY_KERNEL_WAIT4_H

#include "lib/compiler.h"
#include "sentry/kernel/signal.h"

#include <sys/resource.h>

struct pid;
struct task;

enum wait_for { WAIT_FOR_ANY, WAIT_FOR_PID, WAIT_FOR_PGRP };

struct wait_request {
    enum wait_for type;
    pid_t id;              /* for PID and PGRP */
    const struct pid *pid; /* for P_PIDFD instead of an id; may be NULL */
    unsigned int options;  /* WEXITED, WUNTRACED == WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT, __W* */
    bool pidfd_nonblock;   /* -EAGAIN instead of sleeping */
};

struct wait_result {
    pid_t pid; /* 0: WNOHANG and nothing yet */
    uid_t uid;
    int status;       /* as wait4 gives it */
    int code;         /* CLD_* */
    int child_status; /* exit code or signal: si_status */
    struct rusage usage;
};

/* 0, or -ECHILD, -ERESTARTSYS, -EAGAIN. */
int must_check task_wait_child(struct task *t, const struct wait_request *rq, struct wait_result *res);

#endif
