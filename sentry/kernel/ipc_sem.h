/* System V semaphores, for the system calls. Errors as in the manual pages. */
#ifndef SENTRY_KERNEL_IPC_SEM_H
#define SENTRY_KERNEL_IPC_SEM_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sembuf;
struct task;

int64_t sem_get(struct task *t, key_t key, int nsems, int flags);
/* The most operations that one call may have; `ops` is host memory. `deadline`: CLOCK_MONOTONIC. */
uint64_t sem_ops_max(struct task *t);
int64_t sem_op(struct task *t, int id, const struct sembuf *ops, unsigned int nr, int64_t deadline);
int64_t sem_control(struct task *t, int id, int num, int cmd, uint64_t arg);

#endif
