/*
 * What the three kinds of System V IPC share: tables of identifiers, permissions, the namespace.
 *
 * Each kind has one table under one lock; its objects are guarded by that lock too. Operations are short: whoever must wait
 * does so outside of it.
 *
 * Locks: ipc_ids->lock -> waitq locks, the memory file's. Never held while guest memory is touched.
 */
#ifndef SENTRY_KERNEL_IPC_INTERNAL_H
#define SENTRY_KERNEL_IPC_INTERNAL_H

#include "lib/lock.h"
#include "sentry/kernel/ipc.h"
#include "sentry/kernel/task.h"

#include <sys/ipc.h>

#define IPC_MNI          32768 /* slots of a table */
#define IPC_SEQ_MAX      65535
#define IPC_ID(seq, idx) ((int)((unsigned int)(seq) << 15 | (unsigned int)(idx)))

struct ipc_perm_k {
    int id;
    unsigned int idx, seq;
    key_t key;
    uid_t uid, cuid;
    gid_t gid, cgid;
    unsigned int mode;
    bool removed; /* no longer in the table; kept by whoever has a reference */
};

struct ipc_ids {
    struct mutex lock;
    struct ipc_perm_k **slots; /* grown as needed */
    unsigned int nr_slots, in_use, seq;
    int last_idx;
    int64_t next_id; /* set through /proc/sys/kernel; -1: none */
};

struct mqueue_table;

struct ipc_namespace {
    struct kernel *k;
    struct ipc_ids shm, sem, msg;
    uint64_t tunables[IPC_NR_TUNABLES]; /* atomic */
    uint64_t shm_pages;                 /* shm.lock: of all segments */
    uint64_t nr_sems;                   /* sem.lock */
    uint64_t msg_bytes, nr_msgs;        /* msg.lock */
    struct super_block *shm_sb;         /* of the segments' inodes; immutable */
    struct mqueue_table *mqueues;
};

/* All with ids->lock held. */
struct ipc_perm_k *ipc_find_id(struct ipc_ids *ids, int id); /* NULL: -EINVAL */
struct ipc_perm_k *ipc_find_key(struct ipc_ids *ids, key_t key);
struct ipc_perm_k *ipc_at(struct ipc_ids *ids, int idx); /* for *_STAT by index */
/* Fills in everything of `perm` and gives it an id; `max`: how many there may be. The id or -ENOSPC, -ENOMEM. */
int must_check ipc_add(struct ipc_ids *ids, struct ipc_perm_k *perm, struct task *t, key_t key, int flags, uint64_t max);
void ipc_remove(struct ipc_ids *ids, struct ipc_perm_k *perm);
int ipc_max_idx(struct ipc_ids *ids); /* -1: none */
/* What *get(2) does after its own checks: 0 with *out set, *out NULL when one has to be made, or an error. */
int must_check ipc_get_check(struct ipc_ids *ids, struct task *t, key_t key, int flags,
                             bool (*fits)(struct ipc_perm_k *, size_t), size_t size, struct ipc_perm_k **out);

/* -EACCES unless `flag`'s permission bits (0444, 0222...) are granted. */
int ipc_access(struct task *t, const struct ipc_perm_k *perm, int flag);
bool ipc_may_control(struct task *t, const struct ipc_perm_k *perm); /* IPC_SET, IPC_RMID: -EPERM if not */
void ipc_perm_out(const struct ipc_perm_k *perm, struct ipc_perm *out);
/* IPC_SET's part; -EINVAL for ids that are none. */
int must_check ipc_perm_set(struct ipc_perm_k *perm, const struct ipc_perm *in);

int shm_init(struct ipc_namespace *ns);
void shm_fini(struct ipc_namespace *ns);
void sem_fini(struct ipc_namespace *ns);
void msg_fini(struct ipc_namespace *ns);
int mqueue_init(struct ipc_namespace *ns);
void mqueue_fini(struct ipc_namespace *ns);

static inline int64_t ipc_now(void)
{
    return kernel_realtime_ns() / 1000000000;
}

/* Text that grows, for /proc/sysvipc. */
struct ipc_text {
    char *buf;
    size_t len, cap;
    bool failed;
};
void ipc_text_add(struct ipc_text *text, const char *fmt, ...) printf_like(2, 3);
/* The text, owned by the caller, or NULL. */
char *ipc_text_take(struct ipc_text *text, size_t *len);

#endif
