/* seccomp(2): the guest's own filters of its system calls. See seccomp.c. */
#ifndef SENTRY_KERNEL_SECCOMP_H
#define SENTRY_KERNEL_SECCOMP_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seccomp_filter;
struct sock_filter;
struct task;

/*
 * Asks the filters of `t` (whose seccomp_mode is not 0) about the call in t->orig_rax with t->regs. True: the call may run.
 * Otherwise *result is what goes to rax, and a signal may have been sent or an exit requested.
 */
bool seccomp_check(struct task *t, int64_t *result);
int64_t seccomp_set_strict(struct task *t);
/* `prog` is a struct sock_fprog of the guest; `flags` SECCOMP_FILTER_FLAG_*. */
int64_t seccomp_set_filter(struct task *t, unsigned int flags, guest_addr prog);
/* Takes over the chain that another thread left in t->seccomp_sync (SECCOMP_FILTER_FLAG_TSYNC). */
void seccomp_take_sync(struct task *t);
/* A clone has its parent's filters. */
void seccomp_clone(struct task *child, const struct task *parent);
void seccomp_filter_put(struct seccomp_filter *f);

/* A filter from outside, for processes to begin with: checked as the guest's are (-EINVAL). One reference. */
int must_check seccomp_filter_create(const struct sock_filter *insns, size_t len, struct seccomp_filter **out);
/* For a task that has not run yet. */
void seccomp_adopt(struct task *t, struct seccomp_filter *f);
/* Whether calls that the platform answers by itself have to be brought here, because filters might not allow them. */
bool seccomp_heeds_answers(const struct task *t);

#endif
