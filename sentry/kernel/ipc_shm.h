/* System V shared memory, for the system calls. Errors as in the manual pages. */
#ifndef SENTRY_KERNEL_IPC_SHM_H
#define SENTRY_KERNEL_IPC_SHM_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct task;

int64_t shm_get(struct task *t, key_t key, size_t size, int flags);
int64_t shm_attach(struct task *t, int id, uint64_t addr, int flags);
int64_t shm_detach(struct task *t, uint64_t addr);
int64_t shm_control(struct task *t, int id, int cmd, guest_addr buf);

#endif
