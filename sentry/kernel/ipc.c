/* The IPC namespace: tunables, tables of identifiers, permissions. */
#include "sentry/kernel/ipc_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IPC_MIN_CYCLE 256 /* slots are not reused before so many others were */

static const struct {
    uint64_t initial, min, max;
} tunables[IPC_NR_TUNABLES] = {
    [IPC_SHMMAX] = {ULONG_MAX - (1UL << 24), 0, UINT64_MAX},
    [IPC_SHMALL] = {ULONG_MAX - (1UL << 24), 0, UINT64_MAX},
    [IPC_SHMMNI] = {4096, 0, IPC_MNI},
    [IPC_MSGMAX] = {8192, 0, INT_MAX},
    [IPC_MSGMNB] = {16384, 0, INT_MAX},
    [IPC_MSGMNI] = {32000, 0, IPC_MNI},
    [IPC_SEMMSL] = {32000, 0, INT_MAX},
    [IPC_SEMMNS] = {1024000000, 0, INT_MAX},
    [IPC_SEMOPM] = {500, 0, INT_MAX},
    [IPC_SEMMNI] = {32000, 0, IPC_MNI},
    [IPC_SHM_NEXT_ID] = {(uint64_t)-1, 0, INT_MAX},
    [IPC_MSG_NEXT_ID] = {(uint64_t)-1, 0, INT_MAX},
    [IPC_SEM_NEXT_ID] = {(uint64_t)-1, 0, INT_MAX},
    [IPC_SHM_RMID_FORCED] = {0, 0, 1},
    [MQ_QUEUES_MAX] = {256, 0, INT_MAX},
    [MQ_MSG_MAX] = {10, 1, 65536},
    [MQ_MSGSIZE_MAX] = {8192, 128, 16 << 20},
    [MQ_MSG_DEFAULT] = {10, 1, 65536},
    [MQ_MSGSIZE_DEFAULT] = {8192, 128, 16 << 20},
};

static struct ipc_ids *next_id_of(struct ipc_namespace *ns, enum ipc_tunable which)
{
    return which == IPC_SHM_NEXT_ID   ? &ns->shm
           : which == IPC_MSG_NEXT_ID ? &ns->msg
           : which == IPC_SEM_NEXT_ID ? &ns->sem
                                      : NULL;
}

uint64_t ipc_tunable_get(struct ipc_namespace *ns, enum ipc_tunable which)
{
    struct ipc_ids *ids = next_id_of(ns, which);
    uint64_t v;

    if (!ids)
        return __atomic_load_n(&ns->tunables[which], __ATOMIC_RELAXED);
    mutex_lock(&ids->lock);
    v = (uint64_t)ids->next_id;
    mutex_unlock(&ids->lock);
    return v;
}

int ipc_tunable_set(struct ipc_namespace *ns, enum ipc_tunable which, uint64_t value)
{
    struct ipc_ids *ids = next_id_of(ns, which);

    if (value < tunables[which].min || value > tunables[which].max)
        return -EINVAL;
    if (!ids) {
        __atomic_store_n(&ns->tunables[which], value, __ATOMIC_RELAXED);
        return 0;
    }
    mutex_lock(&ids->lock);
    ids->next_id = (int64_t)value;
    mutex_unlock(&ids->lock);
    return 0;
}

static void ids_init(struct ipc_ids *ids)
{
    mutex_init(&ids->lock);
    ids->last_idx = -1;
    ids->next_id = -1;
}

int ipc_namespace_create(struct kernel *k, struct ipc_namespace **out)
{
    struct ipc_namespace *ns = calloc(1, sizeof(*ns));
    int err;

    if (!ns)
        return -ENOMEM;
    ns->k = k;
    ids_init(&ns->shm);
    ids_init(&ns->sem);
    ids_init(&ns->msg);
    for (int i = 0; i < IPC_NR_TUNABLES; i++)
        ns->tunables[i] = tunables[i].initial;
    err = shm_init(ns);
    if (!err)
        err = mqueue_init(ns);
    if (err) {
        ipc_namespace_destroy(ns);
        return err;
    }
    *out = ns;
    return 0;
}

void ipc_namespace_destroy(struct ipc_namespace *ns)
{
    if (!ns)
        return;
    mqueue_fini(ns);
    shm_fini(ns);
    sem_fini(ns);
    msg_fini(ns);
    free(ns->shm.slots);
    free(ns->sem.slots);
    free(ns->msg.slots);
    mutex_fini(&ns->shm.lock);
    mutex_fini(&ns->sem.lock);
    mutex_fini(&ns->msg.lock);
    free(ns);
}

struct ipc_perm_k *ipc_at(struct ipc_ids *ids, int idx)
{
    return idx >= 0 && (unsigned int)idx < ids->nr_slots ? ids->slots[idx] : NULL;
}

struct ipc_perm_k *ipc_find_id(struct ipc_ids *ids, int id)
{
    struct ipc_perm_k *perm = id < 0 ? NULL : ipc_at(ids, id & (IPC_MNI - 1));

    return perm && perm->id == id ? perm : NULL;
}

struct ipc_perm_k *ipc_find_key(struct ipc_ids *ids, key_t key)
{
    for (unsigned int i = 0; i < ids->nr_slots; i++)
        if (ids->slots[i] && ids->slots[i]->key == key)
            return ids->slots[i];
    return NULL;
}

int ipc_max_idx(struct ipc_ids *ids)
{
    for (int i = (int)ids->nr_slots - 1; i >= 0; i--)
        if (ids->slots[i])
            return i;
    return -1;
}

/* The first free slot from `from` on, cyclically below `limit`; the table grows up to it. -ENOSPC, -ENOMEM. */
static int find_slot(struct ipc_ids *ids, unsigned int from, unsigned int limit)
{
    for (unsigned int n = 0; n < limit; n++) {
        unsigned int i = (from + n) % limit;

        if (i >= ids->nr_slots) {
            unsigned int nr = i + 1 > 64 ? (i + 1) * 2 : 64;
            struct ipc_perm_k **slots = realloc(ids->slots, nr * sizeof(*slots));

            if (!slots)
                return -ENOMEM;
            memset(slots + ids->nr_slots, 0, (nr - ids->nr_slots) * sizeof(*slots));
            ids->slots = slots;
            ids->nr_slots = nr;
        }
        if (!ids->slots[i])
            return (int)i;
    }
    return -ENOSPC;
}

int ipc_add(struct ipc_ids *ids, struct ipc_perm_k *perm, struct task *t, key_t key, int flags, uint64_t max)
{
    unsigned int limit = ids->in_use * 3 / 2 > IPC_MIN_CYCLE ? ids->in_use * 3 / 2 : IPC_MIN_CYCLE;
    int idx;

    if (ids->in_use >= max)
        return -ENOSPC;
    if (limit > IPC_MNI)
        limit = IPC_MNI;
    if (ids->next_id >= 0) {
        idx = find_slot(ids, (unsigned int)ids->next_id & (IPC_MNI - 1), IPC_MNI);
        if (idx < 0)
            return idx;
        perm->seq = (unsigned int)(ids->next_id >> 15) & IPC_SEQ_MAX;
        ids->next_id = -1;
    } else {
        idx = find_slot(ids, (unsigned int)(ids->last_idx + 1), limit);
        if (idx < 0)
            return idx;
        if (idx <= ids->last_idx)
            ids->seq = (ids->seq + 1) & IPC_SEQ_MAX;
        ids->last_idx = idx;
        perm->seq = ids->seq;
    }
    perm->idx = (unsigned int)idx;
    perm->id = IPC_ID(perm->seq, idx);
    perm->key = key;
    perm->mode = (unsigned int)flags & 0777;
    perm->uid = perm->cuid = t->cred->euid;
    perm->gid = perm->cgid = t->cred->egid;
    perm->removed = false;
    ids->slots[idx] = perm;
    ids->in_use++;
    return perm->id;
}

void ipc_remove(struct ipc_ids *ids, struct ipc_perm_k *perm)
{
    ids->slots[perm->idx] = NULL;
    ids->in_use--;
    perm->removed = true;
}

int ipc_get_check(struct ipc_ids *ids, struct task *t, key_t key, int flags, bool (*fits)(struct ipc_perm_k *, size_t),
                  size_t size, struct ipc_perm_k **out)
{
    struct ipc_perm_k *perm = key == IPC_PRIVATE ? NULL : ipc_find_key(ids, key);

    *out = NULL;
    if (!perm)
        return key == IPC_PRIVATE || flags & IPC_CREAT ? 0 : -ENOENT;
    if ((flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
        return -EEXIST;
    if (!fits(perm, size))
        return -EINVAL;
    *out = perm;
    return ipc_access(t, perm, flags);
}

int ipc_access(struct task *t, const struct ipc_perm_k *perm, int flag)
{
    const struct cred *c = t->cred;
    unsigned int wanted = (unsigned int)(flag >> 6 | flag >> 3 | flag) & 7, granted = perm->mode;

    if (c->euid == perm->cuid || c->euid == perm->uid)
        granted >>= 6;
    else if (c->egid == perm->cgid || c->egid == perm->gid || cred_in_group(c, perm->cgid) || cred_in_group(c, perm->gid))
        granted >>= 3;
    return wanted & ~granted && !cred_has_cap(c, CAP_IPC_OWNER) ? -EACCES : 0;
}

bool ipc_may_control(struct task *t, const struct ipc_perm_k *perm)
{
    return t->cred->euid == perm->cuid || t->cred->euid == perm->uid || cred_has_cap(t->cred, CAP_SYS_ADMIN);
}

void ipc_perm_out(const struct ipc_perm_k *perm, struct ipc_perm *out)
{
    out->__key = perm->key;
    out->uid = perm->uid;
    out->gid = perm->gid;
    out->cuid = perm->cuid;
    out->cgid = perm->cgid;
    out->mode = perm->mode;
    out->__seq = (unsigned short)perm->seq;
}

int ipc_perm_set(struct ipc_perm_k *perm, const struct ipc_perm *in)
{
    if (in->uid == (uid_t)-1 || in->gid == (gid_t)-1)
        return -EINVAL;
    perm->uid = in->uid;
    perm->gid = in->gid;
    perm->mode = (perm->mode & ~0777u) | (in->mode & 0777);
    return 0;
}

void ipc_text_add(struct ipc_text *text, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (text->failed)
        return;
    if (text->cap - text->len < 512) {
        size_t cap = text->cap ? text->cap * 2 : 4096;
        char *buf = realloc(text->buf, cap);

        if (!buf) {
            text->failed = true;
            return;
        }
        text->buf = buf;
        text->cap = cap;
    }
    va_start(ap, fmt);
    n = vsnprintf(text->buf + text->len, text->cap - text->len, fmt, ap);
    va_end(ap);
    if (n > 0)
        text->len += (size_t)n;
}

char *ipc_text_take(struct ipc_text *text, size_t *len)
{
    if (text->failed) {
        free(text->buf);
        return NULL;
    }
    *len = text->len;
    return text->buf;
}
