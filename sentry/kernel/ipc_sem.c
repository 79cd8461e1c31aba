/*
 * System V semaphores.
 *
 * semop(2) applies a list of operations as a whole or not at all. A call that cannot go on queues itself, in order of arrival,
 * with its operations; whoever changes a set then runs through the queue, applies on behalf of the waiting what has become
 * possible, and wakes them with the result. A waiter so never has to try again.
 *
 * SEM_UNDO keeps, per undo list (a process, or what shares CLONE_SYSVSEM) and set, what has to be added at exit.
 *
 * Everything is under ns->sem.lock.
 */
#include "sentry/kernel/ipc_sem.h"

#include "sentry/kernel/ipc_internal.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>

#define SEM_VALUE_MAX_SYSV 32767
#define SEM_ADJUST_MAX     32767
#ifndef SEM_STAT_ANY
#define SEM_STAT_ANY 20
#endif

struct sem {
    int value;
    pid_t pid; /* of the last operation */
};

struct sem_set {
    struct ipc_perm_k perm; /* first: the table's pointers are to it */
    int64_t otime, ctime;
    struct list_head waiting; /* of sem_waiter */
    struct list_head undos;   /* of sem_undo */
    unsigned int nr;
    struct sem sems[];
};

struct sem_waiter {
    struct list_head node; /* empty once it has its result */
    struct task *task;
    const struct sembuf *ops;
    unsigned int nr;
    struct sem_undo *undo;
    unsigned int blocked_by; /* which of the operations cannot go on */
    int result;
};

/* The adjustments of one undo list to one set. */
struct sem_undo {
    struct list_head in_list; /* sem_undo_list->undos */
    struct list_head in_set;
    struct sem_set *set;
    short adj[];
};

struct sem_undo_list {
    struct refcount ref;
    struct list_head undos;
};

static void undo_free(struct sem_undo *un)
{
    list_del_init(&un->in_list);
    list_del_init(&un->in_set);
    free(un);
}

/* The set's own part; waiters are told by the caller. */
static void set_free(struct sem_set *set)
{
    while (!list_empty(&set->undos))
        undo_free(list_first_entry(&set->undos, struct sem_undo, in_set));
    free(set);
}

void sem_fini(struct ipc_namespace *ns)
{
    for (unsigned int i = 0; i < ns->sem.nr_slots; i++)
        if (ns->sem.slots[i])
            set_free((struct sem_set *)ns->sem.slots[i]);
}

/*
 * Does all of `ops` or nothing: 0 done, 1 must wait (*blocked_by tells for what), or -errno.
 */
static int set_try(struct sem_set *set, const struct sembuf *ops, unsigned int nr, struct sem_undo *undo, pid_t pid,
                   unsigned int *blocked_by)
{
    unsigned int i;
    int err = 0;

    for (i = 0; i < nr; i++) {
        struct sem *s = &set->sems[ops[i].sem_num];
        int value = s->value + ops[i].sem_op;

        if ((ops[i].sem_op == 0 && s->value) || value < 0) {
            *blocked_by = i;
            err = ops[i].sem_flg & IPC_NOWAIT ? -EAGAIN : 1;
            break;
        }
        if (value > SEM_VALUE_MAX_SYSV) {
            err = -ERANGE;
            break;
        }
        if (ops[i].sem_flg & SEM_UNDO) {
            int adj = undo->adj[ops[i].sem_num] - ops[i].sem_op;

            if (adj < -SEM_ADJUST_MAX - 1 || adj > SEM_ADJUST_MAX) {
                err = -ERANGE;
                break;
            }
            undo->adj[ops[i].sem_num] = (short)adj;
        }
        s->value = value;
    }
    if (!err) {
        for (i = 0; i < nr; i++)
            set->sems[ops[i].sem_num].pid = pid;
        set->otime = ipc_now();
        return 0;
    }
    while (i-- > 0) {
        set->sems[ops[i].sem_num].value -= ops[i].sem_op;
        if (ops[i].sem_flg & SEM_UNDO)
            undo->adj[ops[i].sem_num] = (short)(undo->adj[ops[i].sem_num] + ops[i].sem_op);
    }
    return err;
}

static void waiter_finish(struct sem_waiter *w, int result)
{
    struct task *t = task_get(w->task);

    w->result = result;
    list_del_init(&w->node);
    task_wake(t);
    task_put(t);
}

static bool ops_alter(const struct sembuf *ops, unsigned int nr)
{
    for (unsigned int i = 0; i < nr; i++)
        if (ops[i].sem_op)
            return true;
    return false;
}

/* The set has changed: serves who can go on now, over and over while that changes it again. */
static void set_serve_waiters(struct sem_set *set)
{
    struct sem_waiter *w, *next;
    bool again;

    do {
        again = false;
        list_for_each_entry_safe(w, next, &set->waiting, node) {
            int r = set_try(set, w->ops, w->nr, w->undo, w->task->tg->tgid, &w->blocked_by);

            if (r > 0)
                continue;
            again = r == 0 && ops_alter(w->ops, w->nr);
            waiter_finish(w, r);
            if (again)
                break;
        }
    } while (again);
}

static struct sem_set *set_find(struct ipc_namespace *ns, int id)
{
    return (struct sem_set *)ipc_find_id(&ns->sem, id);
}

static bool set_fits(struct ipc_perm_k *perm, size_t nsems)
{
    return nsems <= ((struct sem_set *)perm)->nr;
}

/* sem.lock held. The id or -errno. */
static int set_create(struct ipc_namespace *ns, struct task *t, key_t key, unsigned int nsems, int flags)
{
    struct sem_set *set;
    int id;

    if (!nsems)
        return -EINVAL;
    if (ns->nr_sems + nsems > ipc_tunable_get(ns, IPC_SEMMNS))
        return -ENOSPC;
    set = calloc(1, sizeof(*set) + nsems * sizeof(set->sems[0]));
    if (!set)
        return -ENOMEM;
    list_init(&set->waiting);
    list_init(&set->undos);
    set->nr = nsems;
    set->ctime = ipc_now();
    id = ipc_add(&ns->sem, &set->perm, t, key, flags, ipc_tunable_get(ns, IPC_SEMMNI));
    if (id < 0)
        free(set);
    else
        ns->nr_sems += nsems;
    return id;
}

int64_t sem_get(struct task *t, key_t key, int nsems, int flags)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct ipc_perm_k *perm;
    int64_t ret;

    if (nsems < 0 || (uint64_t)nsems > ipc_tunable_get(ns, IPC_SEMMSL))
        return -EINVAL;
    mutex_lock(&ns->sem.lock);
    ret = ipc_get_check(&ns->sem, t, key, flags, set_fits, (size_t)nsems, &perm);
    if (!ret)
        ret = perm ? perm->id : set_create(ns, t, key, (unsigned int)nsems, flags);
    mutex_unlock(&ns->sem.lock);
    return ret;
}

uint64_t sem_ops_max(struct task *t)
{
    return ipc_tunable_get(t->k->ipc, IPC_SEMOPM);
}

/* The caller's adjustments to `set`, made if there are none. */
static struct sem_undo *undo_of(struct task *t, struct sem_set *set)
{
    struct sem_undo *un;

    if (!t->sem_undo) {
        struct sem_undo_list *ul = calloc(1, sizeof(*ul));

        if (!ul)
            return NULL;
        ref_init(&ul->ref);
        list_init(&ul->undos);
        t->sem_undo = ul;
    }
    list_for_each_entry(un, &t->sem_undo->undos, in_list) {
        if (un->set == set)
            return un;
    }
    un = calloc(1, sizeof(*un) + set->nr * sizeof(un->adj[0]));
    if (!un)
        return NULL;
    un->set = set;
    list_add(&un->in_list, &t->sem_undo->undos);
    list_add(&un->in_set, &set->undos);
    return un;
}

static int ops_check(struct task *t, struct sem_set *set, const struct sembuf *ops, unsigned int nr, bool *undo)
{
    *undo = false;
    for (unsigned int i = 0; i < nr; i++) {
        if (ops[i].sem_num >= set->nr)
            return -EFBIG;
        if (ops[i].sem_flg & SEM_UNDO)
            *undo = true;
    }
    return ipc_access(t, &set->perm, ops_alter(ops, nr) ? 0222 : 0444);
}

int64_t sem_op(struct task *t, int id, const struct sembuf *ops, unsigned int nr, int64_t deadline)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct sem_waiter w = {.task = t, .ops = ops, .nr = nr};
    struct sem_set *set;
    bool undo, waiting;
    int ret;

    mutex_lock(&ns->sem.lock);
    set = set_find(ns, id);
    ret = set ? ops_check(t, set, ops, nr, &undo) : -EINVAL;
    if (!ret && undo) {
        w.undo = undo_of(t, set);
        ret = w.undo ? 0 : -ENOMEM;
    }
    if (!ret) {
        ret = set_try(set, ops, nr, w.undo, t->tg->tgid, &w.blocked_by);
        if (!ret && ops_alter(ops, nr))
            set_serve_waiters(set);
    }
    waiting = ret > 0;
    if (waiting)
        list_add_tail(&w.node, &set->waiting);
    mutex_unlock(&ns->sem.lock);
    while (waiting) {
        ret = task_block(t, deadline);
        mutex_lock(&ns->sem.lock);
        if (list_empty(&w.node)) {
            ret = w.result;
            waiting = false;
        } else if (ret) {
            list_del_init(&w.node);
            ret = ret == -ETIMEDOUT ? -EAGAIN : -EINTR;
            waiting = false;
        }
        mutex_unlock(&ns->sem.lock);
    }
    return ret;
}

/* How many wait for semaphore `num` to grow, or to become zero. */
static int count_waiters(struct sem_set *set, unsigned int num, bool for_zero)
{
    struct sem_waiter *w;
    int n = 0;

    list_for_each_entry(w, &set->waiting, node) {
        const struct sembuf *op = &w->ops[w->blocked_by];

        if (op->sem_num == num && (op->sem_op == 0) == for_zero)
            n++;
    }
    return n;
}

static void forget_adjustments(struct sem_set *set, unsigned int first, unsigned int nr)
{
    struct sem_undo *un;

    list_for_each_entry(un, &set->undos, in_set)
        memset(&un->adj[first], 0, nr * sizeof(un->adj[0]));
}

static int64_t sem_set_value(struct task *t, int id, int num, int value)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct sem_set *set;
    int64_t ret = -EINVAL;

    if (value < 0 || value > SEM_VALUE_MAX_SYSV)
        return -ERANGE;
    mutex_lock(&ns->sem.lock);
    set = set_find(ns, id);
    if (set && num >= 0 && (unsigned int)num < set->nr) {
        ret = ipc_access(t, &set->perm, 0222);
        if (!ret) {
            forget_adjustments(set, (unsigned int)num, 1);
            set->sems[num] = (struct sem){.value = value, .pid = t->tg->tgid};
            set->ctime = ipc_now();
            set_serve_waiters(set);
        }
    }
    mutex_unlock(&ns->sem.lock);
    return ret;
}

/* GETVAL and the like: a number of one semaphore. */
static int64_t sem_get_number(struct task *t, int id, int num, int cmd)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct sem_set *set;
    int64_t ret = -EINVAL;

    mutex_lock(&ns->sem.lock);
    set = set_find(ns, id);
    if (set)
        ret = ipc_access(t, &set->perm, 0444);
    if (!ret && (num < 0 || (unsigned int)num >= set->nr))
        ret = -EINVAL;
    if (!ret) {
        switch (cmd) {
        case GETVAL:
            ret = set->sems[num].value;
            break;
        case GETPID:
            ret = set->sems[num].pid;
            break;
        default:
            ret = count_waiters(set, (unsigned int)num, cmd == GETZCNT);
        }
    }
    mutex_unlock(&ns->sem.lock);
    return ret;
}

/* The size of a set that the caller may read or change; -errno. */
static int64_t set_size(struct task *t, int id, int access)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct sem_set *set;
    int64_t ret = -EINVAL;

    mutex_lock(&ns->sem.lock);
    set = set_find(ns, id);
    if (set) {
        ret = ipc_access(t, &set->perm, access);
        if (!ret)
            ret = set->nr;
    }
    mutex_unlock(&ns->sem.lock);
    return ret;
}

static int64_t sem_all(struct task *t, int id, int cmd, guest_addr array)
{
    struct ipc_namespace *ns = t->k->ipc;
    int64_t nr = set_size(t, id, cmd == GETALL ? 0444 : 0222), ret = 0;
    struct sem_set *set;
    unsigned short *values;

    if (nr < 0)
        return nr;
    values = malloc((size_t)nr * sizeof(*values));
    if (!values)
        return -ENOMEM;
    if (cmd == SETALL) {
        ret = copy_in(t, values, array, (size_t)nr * sizeof(*values));
        for (int64_t i = 0; !ret && i < nr; i++)
            if (values[i] > SEM_VALUE_MAX_SYSV)
                ret = -ERANGE;
    }
    if (ret)
        goto out;
    mutex_lock(&ns->sem.lock);
    set = set_find(ns, id);
    if (!set || set->nr != nr) {
        ret = -EIDRM;
    } else if (cmd == GETALL) {
        for (int64_t i = 0; i < nr; i++)
            values[i] = (unsigned short)set->sems[i].value;
    } else {
        for (int64_t i = 0; i < nr; i++)
            set->sems[i] = (struct sem){.value = values[i], .pid = t->tg->tgid};
        forget_adjustments(set, 0, set->nr);
        set->ctime = ipc_now();
        set_serve_waiters(set);
    }
    mutex_unlock(&ns->sem.lock);
    if (!ret && cmd == GETALL)
        ret = copy_out(t, array, values, (size_t)nr * sizeof(*values));
out:
    free(values);
    return ret;
}

static int64_t sem_info(struct task *t, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct seminfo info = {
        .semmni = (int)ipc_tunable_get(ns, IPC_SEMMNI),
        .semmns = (int)ipc_tunable_get(ns, IPC_SEMMNS),
        .semmsl = (int)ipc_tunable_get(ns, IPC_SEMMSL),
        .semopm = (int)ipc_tunable_get(ns, IPC_SEMOPM),
        .semume = (int)ipc_tunable_get(ns, IPC_SEMOPM),
        .semusz = 20,
        .semvmx = SEM_VALUE_MAX_SYSV,
        .semaem = SEM_ADJUST_MAX,
    };
    int max, err;

    info.semmap = info.semmnu = info.semmns;
    mutex_lock(&ns->sem.lock);
    if (cmd == SEM_INFO) {
        info.semusz = (int)ns->sem.in_use;
        info.semaem = (int)ns->nr_sems;
    }
    max = ipc_max_idx(&ns->sem);
    mutex_unlock(&ns->sem.lock);
    err = copy_out(t, buf, &info, sizeof(info));
    return err ? err : max < 0 ? 0 : max;
}

static int64_t sem_stat(struct task *t, int id, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct semid_ds ds = {0};
    struct sem_set *set;
    int64_t ret = -EINVAL;

    mutex_lock(&ns->sem.lock);
    set = cmd == IPC_STAT ? set_find(ns, id) : (struct sem_set *)ipc_at(&ns->sem, id);
    if (set) {
        ret = cmd == SEM_STAT_ANY ? 0 : ipc_access(t, &set->perm, 0444);
        if (!ret) {
            ipc_perm_out(&set->perm, &ds.sem_perm);
            ds.sem_otime = set->otime;
            ds.sem_ctime = set->ctime;
            ds.sem_nsems = set->nr;
            ret = cmd == IPC_STAT ? 0 : set->perm.id;
        }
    }
    mutex_unlock(&ns->sem.lock);
    if (ret >= 0 && copy_out(t, buf, &ds, sizeof(ds)))
        ret = -EFAULT;
    return ret;
}

static void set_remove(struct ipc_namespace *ns, struct sem_set *set)
{
    while (!list_empty(&set->waiting))
        waiter_finish(list_first_entry(&set->waiting, struct sem_waiter, node), -EIDRM);
    ipc_remove(&ns->sem, &set->perm);
    ns->nr_sems -= set->nr;
    set_free(set);
}

static int64_t sem_owner_control(struct task *t, int id, int cmd, guest_addr buf)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct semid_ds ds;
    struct sem_set *set;
    int64_t ret = 0;

    if (cmd == IPC_SET && (ret = copy_in(t, &ds, buf, sizeof(ds))))
        return ret;
    mutex_lock(&ns->sem.lock);
    set = set_find(ns, id);
    if (!set) {
        ret = -EINVAL;
    } else if (!ipc_may_control(t, &set->perm)) {
        ret = -EPERM;
    } else if (cmd == IPC_RMID) {
        set_remove(ns, set);
    } else {
        ret = ipc_perm_set(&set->perm, &ds.sem_perm);
        if (!ret)
            set->ctime = ipc_now();
    }
    mutex_unlock(&ns->sem.lock);
    return ret;
}

int64_t sem_control(struct task *t, int id, int num, int cmd, uint64_t arg)
{
    if (id < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
    case SEM_INFO:
        return sem_info(t, cmd, guest_addr_of(arg));
    case IPC_STAT:
    case SEM_STAT:
    case SEM_STAT_ANY:
        return sem_stat(t, id, cmd, guest_addr_of(arg));
    case GETALL:
    case SETALL:
        return sem_all(t, id, cmd, guest_addr_of(arg));
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
        return sem_get_number(t, id, num, cmd);
    case SETVAL:
        return sem_set_value(t, id, num, (int)arg);
    case IPC_SET:
    case IPC_RMID:
        return sem_owner_control(t, id, cmd, guest_addr_of(arg));
    default:
        return -EINVAL;
    }
}

void sem_undo_clone(struct task *child, struct task *parent, unsigned long clone_flags)
{
    child->sem_undo = NULL;
    if (!(clone_flags & CLONE_SYSVSEM))
        return;
    if (!parent->sem_undo) {
        struct sem_undo_list *ul = calloc(1, sizeof(*ul));

        if (!ul)
            return; /* the child then makes its own list when it needs one */
        ref_init(&ul->ref);
        list_init(&ul->undos);
        parent->sem_undo = ul;
    }
    ref_get(&parent->sem_undo->ref);
    child->sem_undo = parent->sem_undo;
}

void sem_undo_exit(struct task *t)
{
    struct ipc_namespace *ns = t->k->ipc;
    struct sem_undo_list *ul = t->sem_undo;

    if (!ul)
        return;
    t->sem_undo = NULL;
    if (!ref_put(&ul->ref))
        return;
    mutex_lock(&ns->sem.lock);
    while (!list_empty(&ul->undos)) {
        struct sem_undo *un = list_first_entry(&ul->undos, struct sem_undo, in_list);
        struct sem_set *set = un->set;

        for (unsigned int i = 0; i < set->nr; i++) {
            int value = set->sems[i].value + un->adj[i];

            if (!un->adj[i])
                continue;
            /* What cannot be done fully is done as far as it goes. */
            set->sems[i].value = value < 0 ? 0 : value > SEM_VALUE_MAX_SYSV ? SEM_VALUE_MAX_SYSV : value;
            set->sems[i].pid = t->tg->tgid;
        }
        undo_free(un);
        set->otime = ipc_now();
        set_serve_waiters(set);
    }
    mutex_unlock(&ns->sem.lock);
    free(ul);
}

char *ipc_show_sem(struct ipc_namespace *ns, size_t *len)
{
    struct ipc_text text = {0};

    ipc_text_add(&text, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    mutex_lock(&ns->sem.lock);
    for (unsigned int i = 0; i < ns->sem.nr_slots; i++) {
        const struct sem_set *set = (struct sem_set *)ns->sem.slots[i];

        if (set)
            ipc_text_add(&text, "%10d %10d  %4o %10u %5u %5u %5u %5u %10llu %10llu\n", set->perm.key, set->perm.id,
                         set->perm.mode, set->nr, set->perm.uid, set->perm.gid, set->perm.cuid, set->perm.cgid,
                         (unsigned long long)set->otime, (unsigned long long)set->ctime);
    }
    mutex_unlock(&ns->sem.lock);
    return ipc_text_take(&text, len);
}
