/* System V message queues, for the system calls. Errors as in the manual pages. */
#ifndef SENTRY_KERNEL_IPC_MSG_H
#define SENTRY_KERNEL_IPC_MSG_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct task;

int64_t msg_get(struct task *t, key_t key, int flags);
int64_t msg_send(struct task *t, int id, guest_addr buf, size_t size, int flags);
int64_t msg_receive(struct task *t, int id, guest_addr buf, size_t size, int64_t type, int flags);
int64_t msg_control(struct task *t, int id, int cmd, guest_addr buf);

#endif
