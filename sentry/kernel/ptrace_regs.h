/* Access to the registers of a tracee that is stopped and frozen. */
#ifndef SENTRY_KERNEL_PTRACE_REGS_H
#define SENTRY_KERNEL_PTRACE_REGS_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

struct task;

void ptrace_regs_get(const struct task *t, struct user_regs_struct *u);
int must_check ptrace_regs_set(struct task *t, const struct user_regs_struct *u); /* 0 or -EIO */
/* One word of struct user, by offset: 0 or -EIO. */
int must_check ptrace_user_peek(const struct task *t, uint64_t off, uint64_t *value);
int must_check ptrace_user_poke(struct task *t, uint64_t off, uint64_t value);
/* The FP state: the 512 bytes of FXSAVE (`legacy`), or all in XSAVE's standard format. */
size_t ptrace_fp_size(const struct task *t, bool legacy);
int must_check ptrace_fp_get(const struct task *t, bool legacy, void *buf);
int must_check ptrace_fp_set(struct task *t, bool legacy, const void *buf, size_t len);

#endif
