/* Replacing the program of a process: execve(2) and the start of the first processes. */
#ifndef SENTRY_KERNEL_EXEC_H
#define SENTRY_KERNEL_EXEC_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"
#include "sentry/loader/loader.h"

struct cred;
struct task;

/* A growing block of NUL-terminated strings. */
struct string_block {
    char *data;
    size_t len, cap, count;
};
int must_check string_block_add(struct string_block *b, const char *s, size_t len); /* `len` without NUL */
void string_block_fini(struct string_block *b);
struct exec_strings string_block_view(const struct string_block *b);

/*
 * Fetches argv and envp from guest memory. The bounds are Linux's: 128 KiB a string; all strings and their pointers together
 * within a quarter of RLIMIT_STACK (at least 128 KiB, at most 6 MiB): -E2BIG. Null vectors are empty.
 */
int must_check exec_copy_strings(struct task *t, guest_addr argv, guest_addr envp, struct string_block *out_argv,
                                 struct string_block *out_envp);

/* The program is `file` (opened by vfs_open_exec()), called `filename`. On success t->regs are the new program's; on failure
 * nothing has changed, or the thread must die (exit_requested). */
int must_check task_exec(struct task *t, struct file *file, const char *filename, const struct string_block *argv,
                         const struct string_block *envp);

/*
 * What the credentials become by executing `file`: set-user-ID, file capabilities, the rules for root, ambient ones and
 * no_new_privs; capabilities(7). `*secure` is AT_SECURE. 0, -EPERM, -ENOMEM. exec_cred.c.
 */
int must_check exec_cred(const struct cred *old, struct file *file, struct cred **out, bool *secure);

#endif
