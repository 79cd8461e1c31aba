/*
 * System V IPC and POSIX message queues: life cycle and what /proc shows. The calls themselves are in ipc_shm.c, ipc_sem.c,
 * ipc_msg.c and mqueue.c.
 */
#ifndef SENTRY_KERNEL_IPC_H
#define SENTRY_KERNEL_IPC_H

#include "lib/compiler.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ipc_namespace;
struct kernel;
struct task;

int must_check ipc_namespace_create(struct kernel *k, struct ipc_namespace **out);
void ipc_namespace_destroy(struct ipc_namespace *ns);

/* Semaphore undo lists: shared with the child by CLONE_SYSVSEM, else the child starts without one. The last user's exit applies
 * it. On the task's own thread (exit) and the parent's (clone); without locks. */
void sem_undo_clone(struct task *child, struct task *parent, unsigned long clone_flags);
void sem_undo_exit(struct task *t);

/* Tunables, as in /proc/sys/kernel and /proc/sys/fs/mqueue. */
enum ipc_tunable {
    IPC_SHMMAX, /* kernel/shmmax */
    IPC_SHMALL, /* kernel/shmall */
    IPC_SHMMNI, /* kernel/shmmni */
    IPC_MSGMAX, /* kernel/msgmax */
    IPC_MSGMNB, /* kernel/msgmnb */
    IPC_MSGMNI, /* kernel/msgmni */
    IPC_SEMMSL, /* kernel/sem: four numbers */
    IPC_SEMMNS,
    IPC_SEMOPM,
    IPC_SEMMNI,
    IPC_SHM_NEXT_ID, /* kernel/{shm,msg,sem}_next_id: -1 when unset */
    IPC_MSG_NEXT_ID,
    IPC_SEM_NEXT_ID,
    IPC_SHM_RMID_FORCED, /* kernel/shm_rmid_forced */
    MQ_QUEUES_MAX,       /* fs/mqueue/queues_max */
    MQ_MSG_MAX,
    MQ_MSGSIZE_MAX,
    MQ_MSG_DEFAULT,
    MQ_MSGSIZE_DEFAULT,
    IPC_NR_TUNABLES
};
uint64_t ipc_tunable_get(struct ipc_namespace *ns, enum ipc_tunable which);
/* -EINVAL when out of the range that Linux allows. */
int ipc_tunable_set(struct ipc_namespace *ns, enum ipc_tunable which, uint64_t value);

/* The text of /proc/sysvipc/{shm,sem,msg}: malloc'ed, terminated; NULL when out of memory. */
char *ipc_show_shm(struct ipc_namespace *ns, size_t *len);
char *ipc_show_sem(struct ipc_namespace *ns, size_t *len);
char *ipc_show_msg(struct ipc_namespace *ns, size_t *len);

#endif
