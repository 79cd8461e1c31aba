/*
 * How a task's identity changes: the set*id(2) families and capset(2), after credentials(7) and capabilities(7). All act on the
 * calling task and publish a new struct cred, or fail and change nothing. Ids of -1 mean "leave it" where the calls allow that.
 */
#ifndef SENTRY_KERNEL_CREDS_H
#define SENTRY_KERNEL_CREDS_H

#include "lib/compiler.h"

#include <stdint.h>
#include <sys/types.h>

struct cred;
struct task;

/* 0, -EPERM or -ENOMEM. */
int must_check creds_setuid(struct task *t, uid_t uid);
int must_check creds_setreuid(struct task *t, uid_t ruid, uid_t euid);
int must_check creds_setresuid(struct task *t, uid_t ruid, uid_t euid, uid_t suid);
int must_check creds_setgid(struct task *t, gid_t gid);
int must_check creds_setregid(struct task *t, gid_t rgid, gid_t egid);
int must_check creds_setresgid(struct task *t, gid_t rgid, gid_t egid, gid_t sgid);
/* Return the old value whatever happens, as the calls do. */
uid_t creds_setfsuid(struct task *t, uid_t uid);
gid_t creds_setfsgid(struct task *t, gid_t gid);

/* The new sets of capset(2); bits beyond the last known capability are ignored. */
int must_check creds_capset(struct task *t, uint64_t effective, uint64_t permitted, uint64_t inheritable);

#define CREDS_ALL_CAPS ((1ULL << (CAP_LAST_CAP + 1)) - 1)

#endif
