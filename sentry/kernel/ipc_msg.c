/*
 * System V message queues: lists of messages with types. Who must wait for room or for a message sleeps on the queue's waitq
 * and tries again when something has changed. A queue is counted, so that those who sleep on one that is removed find out.
 */
#include "sentry/kernel/ipc_msg.h"

#include "sentry/kernel/ipc_internal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/msg.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif
#ifndef MSG_STAT_ANY
#define MSG_STAT_ANY 13
#endif

struct msg {
    struct list_head node;
    int64_t type;
    size_t size;
    char data[];
};

struct msg_queue {
    struct ipc_perm_k perm; /* first: the table's pointers are to it */
    struct refcount ref;
    struct waitq wq; /* POLLIN: a message has come; POLLOUT: one has gone; POLLHUP: removed */
    struct list_head msgs;
    uint64_t qnum, cbytes, qbytes;
    int64_t stime, rtime, ctime;
    pid_t lspid, lrpid;
};

static void queue_put(struct msg_queue *q)
{
    if (!ref_put(&q->ref))
        return;
    while (!list_empty(&q->msgs)) {
        struct msg *m = list_first_entry(&q->msgs, struct msg, node);

        list_del_init(&m->node);
        free(m);
    }
    waitq_fini(&q->wq);
    free(q);
}

void msg_fini(struct ipc_namespace *ns)
{
    for (unsigned int i = 0; i < ns->msg.nr_slots; i++)
        if (ns->msg.slots[i])
            queue_put((struct msg_queue *)ns->msg.slots[i]);
}

static bool queue_fits(struct ipc_perm_k *perm, size_t size)
{
    return true;
}

static int queue_create(struct ipc_namespace *ns, struct task *t, key_t key, int flags)
{
    struct msg_queue *q = calloc(1, sizeof(*q));
    int id;

    if (!q)
        return -ENOMEM;
    ref_init(&q->ref);
    waitq_init(&q->wq);
    list_init(&q->msgs);
    q->qbytes = ipc_tunable_get(ns, IPC_MSGMNB);
    q->ctime = ipc_now();
    id = ipc_add(&ns->msg, &q->perm, t, key, flags, ipc_tunable_get(ns, IPC_MSGMNI));
    if (id < 0)
        queue_put(q);
    return id;
}

int64_t msg_get(struct task *t, key_t key, int flags)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct ipc_perm_k *perm;
    int64_t ret;

    mutex_lock(&ns->msg.lock);
    ret = ipc_get_check(&ns->msg, t, key, flags, queue_fits, 0, &perm);
    if (!ret)
        ret = perm ? perm->id : queue_create(ns, t, key, flags);
    mutex_unlock(&ns->msg.lock);
    return ret;
}

/* A queue that may be used for `access`, referenced. msg.lock not held. */
static int queue_get(struct task *t, int id, struct msg_queue **out)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct msg_queue *q;

    mutex_lock(&ns->msg.lock);
    q = (struct msg_queue *)ipc_find_id(&ns->msg, id);
    if (q)
        ref_get(&q->ref);
    mutex_unlock(&ns->msg.lock);
    *out = q;
    return q ? 0 : -EINVAL;
}

/* 0: sent, and the message belongs to the queue; -EAGAIN: full. */
static int queue_try_send(struct task *t, struct msg_queue *q, struct msg *m)
{
    struct ipc_namespace *ns = t->k->ipc;
    int err;

    mutex_lock(&ns->msg.lock);
    err = q->perm.removed ? -EIDRM : ipc_access(t, &q->perm, 0222);
    if (!err && (m->size + q->cbytes > q->qbytes || q->qnum + 1 > q->qbytes))
        err = -EAGAIN;
    if (!err) {
        list_add_tail(&m->node, &q->msgs);
        q->qnum++;
        q->cbytes += m->size;
        ns->nr_msgs++;
        ns->msg_bytes += m->size;
        q->lspid = t->tg->tgid;
        q->stime = ipc_now();
        waitq_wake(&q->wq, POLLIN);
    }
    mutex_unlock(&ns->msg.lock);
    return err;
}

int64_t msg_send(struct task *t, int id, guest_addr buf, size_t size, int flags)
{
    struct msg_queue *q;
    struct task_wait w;
    struct msg *m;
    int64_t type;
    int ret;

    ret = copy_in(t, &type, buf, sizeof(type));
    if (ret)
        return ret;
    if (size > ipc_tunable_get(t->k->ipc, IPC_MSGMAX) || (int64_t)size < 0 || id < 0 || type < 1)
        return -EINVAL;
    m = malloc(sizeof(*m) + size);
    if (!m)
        return -ENOMEM;
    m->type = type;
    m->size = size;
    ret = copy_in(t, m->data, guest_add(buf, sizeof(type)), size);
    if (!ret)
        ret = queue_get(t, id, &q);
    if (ret) {
        free(m);
        return ret;
    }
    ret = queue_try_send(t, q, m);
    if (ret == -EAGAIN && !(flags & IPC_NOWAIT)) {
        task_wait_begin(t, &w, &q->wq, POLLOUT);
        while ((ret = queue_try_send(t, q, m)) == -EAGAIN) {
            ret = task_block(t, TASK_NO_DEADLINE);
            if (ret)
                break;
        }
        task_wait_end(&w);
    }
    queue_put(q);
    if (ret)
        free(m);
    return ret == -ERESTARTSYS ? -ERESTARTNOHAND : ret;
}

/* The message that msgrcv(2) with this type and these flags means. */
static struct msg *queue_find(struct msg_queue *q, int64_t type, int flags)
{
    struct msg *m, *best = NULL;
    int64_t most = type == INT64_MIN ? INT64_MAX : -type, nr = 0;

    list_for_each_entry(m, &q->msgs, node) {
        if (flags & MSG_COPY) {
            if (nr++ == type)
                return m;
        } else if (type == 0 || (type > 0 && (flags & MSG_EXCEPT ? m->type != type : m->type == type))) {
            return m;
        } else if (type < 0 && m->type <= most) {
            best = m;
            if (m->type == 1)
                break;
            most = m->type - 1;
        }
    }
    return best;
}

/* 0 with *out: a message that is the caller's now; -ENOMSG: none yet. */
static int queue_try_receive(struct task *t, struct msg_queue *q, size_t size, int64_t type, int flags, struct msg **out)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct msg *m = NULL;
    int err;

    mutex_lock(&ns->msg.lock);
    err = q->perm.removed ? -EIDRM : ipc_access(t, &q->perm, 0444);
    if (!err) {
        m = queue_find(q, type, flags);
        err = !m ? -ENOMSG : size < m->size && !(flags & MSG_NOERROR) ? -E2BIG : 0;
    }
    if (!err && flags & MSG_COPY) {
        *out = malloc(sizeof(*m) + m->size);
        err = *out ? 0 : -ENOMEM;
        if (!err)
            __builtin_memcpy(*out, m, sizeof(*m) + m->size);
    } else if (!err) {
        list_del_init(&m->node);
        q->qnum--;
        q->cbytes -= m->size;
        ns->nr_msgs--;
        ns->msg_bytes -= m->size;
        q->lrpid = t->tg->tgid;
        q->rtime = ipc_now();
        waitq_wake(&q->wq, POLLOUT);
        *out = m;
    }
    mutex_unlock(&ns->msg.lock);
    return err;
}

int64_t msg_receive(struct task *t, int id, guest_addr buf, size_t size, int64_t type, int flags)
{
    struct msg_queue *q;
    struct task_wait w;
    struct msg *m = NULL;
    int64_t ret;

    if (id < 0 || (int64_t)size < 0)
        return -EINVAL;
    if (flags & MSG_COPY && (flags & MSG_EXCEPT || !(flags & IPC_NOWAIT)))
        return -EINVAL;
    ret = queue_get(t, id, &q);
    if (ret)
        return ret;
    ret = queue_try_receive(t, q, size, type, flags, &m);
    if (ret == -ENOMSG && !(flags & IPC_NOWAIT)) {
        task_wait_begin(t, &w, &q->wq, POLLIN);
        while ((ret = queue_try_receive(t, q, size, type, flags, &m)) == -ENOMSG) {
            ret = task_block(t, TASK_NO_DEADLINE);
            if (ret)
                break;
        }
        task_wait_end(&w);
    }
    queue_put(q);
    if (ret)
        return ret == -ERESTARTSYS ? -ERESTARTNOHAND : ret;
    if (size > m->size)
        size = m->size;
    if (copy_out(t, buf, &m->type, sizeof(m->type)) || copy_out(t, guest_add(buf, sizeof(m->type)), m->data, size))
        ret = -EFAULT;
    free(m);
    return ret ? ret : (int64_t)size;
}

static int64_t msg_info(struct task *t, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct msginfo info = {
        .msgmax = (int)ipc_tunable_get(ns, IPC_MSGMAX),
        .msgmnb = (int)ipc_tunable_get(ns, IPC_MSGMNB),
        .msgmni = (int)ipc_tunable_get(ns, IPC_MSGMNI),
        .msgssz = 16,
        .msgseg = 0xffff,
    };
    int max, err;

    mutex_lock(&ns->msg.lock);
    if (cmd == MSG_INFO) {
        info.msgpool = (int)ns->msg.in_use;
        info.msgmap = (int)ns->nr_msgs;
        info.msgtql = (int)ns->msg_bytes;
    } else {
        info.msgpool = info.msgmni * (info.msgmnb / 1024);
        info.msgmap = info.msgtql = info.msgmnb;
    }
    max = ipc_max_idx(&ns->msg);
    mutex_unlock(&ns->msg.lock);
    err = copy_out(t, buf, &info, sizeof(info));
    return err ? err : max < 0 ? 0 : max;
}

static int64_t msg_stat(struct task *t, int id, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct msqid_ds ds = {0};
    struct msg_queue *q;
    int64_t ret = -EINVAL;

    mutex_lock(&ns->msg.lock);
    q = (struct msg_queue *)(cmd == IPC_STAT ? ipc_find_id(&ns->msg, id) : ipc_at(&ns->msg, id));
    if (q) {
        ret = cmd == MSG_STAT_ANY ? 0 : ipc_access(t, &q->perm, 0444);
        if (!ret) {
            ipc_perm_out(&q->perm, &ds.msg_perm);
            ds.msg_stime = q->stime;
            ds.msg_rtime = q->rtime;
            ds.msg_ctime = q->ctime;
            ds.__msg_cbytes = q->cbytes;
            ds.msg_qnum = q->qnum;
            ds.msg_qbytes = q->qbytes;
            ds.msg_lspid = q->lspid;
            ds.msg_lrpid = q->lrpid;
            ret = cmd == IPC_STAT ? 0 : q->perm.id;
        }
    }
    mutex_unlock(&ns->msg.lock);
    if (ret >= 0 && copy_out(t, buf, &ds, sizeof(ds)))
        ret = -EFAULT;
    return ret;
}

static int queue_set(struct task *t, struct msg_queue *q, const struct msqid_ds *ds)
{
    int err;

    if (ds->msg_qbytes > ipc_tunable_get(t->k->ipc, IPC_MSGMNB) && !cred_has_cap(t->cred, CAP_SYS_RESOURCE))
        return -EPERM;
    err = ipc_perm_set(&q->perm, &ds->msg_perm);
    if (err)
        return err;
    q->qbytes = ds->msg_qbytes;
    q->ctime = ipc_now();
    waitq_wake(&q->wq, POLLIN | POLLOUT);
    return 0;
}

int64_t msg_control(struct task *t, int id, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct msg_queue *q, *removed = NULL;
    struct msqid_ds ds;
    int64_t ret = 0;

    if (id < 0 || cmd < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
    case MSG_INFO:
        return msg_info(t, cmd, buf);
    case IPC_STAT:
    case MSG_STAT:
    case MSG_STAT_ANY:
        return msg_stat(t, id, cmd, buf);
    case IPC_SET:
        ret = copy_in(t, &ds, buf, sizeof(ds));
        if (ret)
            return ret;
        break;
    case IPC_RMID:
        break;
    default:
        return -EINVAL;
    }
    mutex_lock(&ns->msg.lock);
    q = (struct msg_queue *)ipc_find_id(&ns->msg, id);
    if (!q) {
        ret = -EINVAL;
    } else if (!ipc_may_control(t, &q->perm)) {
        ret = -EPERM;
    } else if (cmd == IPC_SET) {
        ret = queue_set(t, q, &ds);
    } else {
        ipc_remove(&ns->msg, &q->perm);
        ns->nr_msgs -= q->qnum;
        ns->msg_bytes -= q->cbytes;
        waitq_wake(&q->wq, POLLHUP);
        removed = q;
    }
    mutex_unlock(&ns->msg.lock);
    if (removed)
        queue_put(removed);
    return ret;
}

char *ipc_show_msg(struct ipc_namespace *ns, size_t *len)
{
    struct ipc_text text = {0};

    ipc_text_add(&text, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime"
                        "      rtime      ctime\n");
    mutex_lock(&ns->msg.lock);
    for (unsigned int i = 0; i < ns->msg.nr_slots; i++) {
        const struct msg_queue *q = (struct msg_queue *)ns->msg.slots[i];

        if (q)
            ipc_text_add(&text, "%10d %10d  %4o  %10llu %10llu %5u %5u %5u %5u %5u %5u %10llu %10llu %10llu\n", q->perm.key,
                         q->perm.id, q->perm.mode, (unsigned long long)q->cbytes, (unsigned long long)q->qnum, q->lspid,
                         q->lrpid, q->perm.uid, q->perm.gid, q->perm.cuid, q->perm.cgid, (unsigned long long)q->stime,
                         (unsigned long long)q->rtime, (unsigned long long)q->ctime);
    }
    mutex_unlock(&ns->msg.lock);
    return ipc_text_take(&text, len);
}
