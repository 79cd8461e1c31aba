/* /proc/locks, and the walk over all open files that it needs. */
#include "sentry/fs/proc/proc.h"

#include "sentry/kernel/pid.h"
#include "vfs/fdtable.h"
#include "vfs/locks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

int proc_for_each_file(struct kernel *k, int (*fn)(void *arg, struct task *t, struct file *f), void *arg)
{
    struct tgroup *tg;
    int r = 0;

    for (int64_t pid = 1; r == 0 && pid <= INT32_MAX && (tg = tgroup_next(k, (pid_t)pid)); tgroup_put(tg)) {
        struct task *t = tgroup_next_task(tg, 1);
        struct fdtable *files = t ? task_get_files(t) : NULL;
        const struct vfs_caller owner = {.tgid = tg->tgid};

        pid = tg->tgid + 1;
        for (int fd = files ? fd_next_open(files, 0) : -1; r == 0 && fd >= 0; fd = fd_next_open(files, fd + 1)) {
            struct file *f = fd_get_raw(files, fd);
            if (!f)
                continue;
            r = fn(arg, t, f);
            file_put(f);
        }
        if (files)
            fdtable_put(files, &owner);
        if (t)
            task_put(t);
    }
    return r;
}

struct inode_list {
    struct inode **inodes; /* referenced */
    size_t nr, cap;
};

static int add_inode(void *arg, struct task *t, struct file *f)
{
    struct inode_list *l = arg;

    if (!__atomic_load_n(&f->inode->locks, __ATOMIC_RELAXED))
        return 0;
    if (l->nr == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct inode **grown = realloc(l->inodes, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        l->inodes = grown;
        l->cap = cap;
    }
    l->inodes[l->nr++] = inode_get(f->inode);
    return 0;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (struct inode *const *)a, y = (uintptr_t) * (struct inode *const *)b;

    return x < y ? -1 : x > y;
}

struct show_lock {
    struct seq *s;
    const struct inode *inode;
    unsigned int *nr;
};

static int show_lock(void *arg, const struct lock_request *l)
{
    static const char *const kinds[] = {[LOCK_KIND_FLOCK] = "FLOCK ", [LOCK_KIND_POSIX] = "POSIX ", [LOCK_KIND_OFD] = "OFDLCK"};
    const struct show_lock *sl = arg;
    dev_t dev = sl->inode->sb->dev;

    seq_printf(sl->s, "%u: %s ADVISORY  %s %d %02x:%02x:%" PRIu64 " ", ++*sl->nr, kinds[l->kind],
               l->type == F_WRLCK ? "WRITE" : "READ ", l->kind == LOCK_KIND_OFD ? -1 : l->tgid, major(dev), minor(dev),
               sl->inode->ino);
    if (l->kind == LOCK_KIND_FLOCK || l->end == INT64_MAX)
        seq_printf(sl->s, "%" PRId64 " EOF\n", l->kind == LOCK_KIND_FLOCK ? 0 : l->start);
    else
        seq_printf(sl->s, "%" PRId64 " %" PRId64 "\n", l->start, l->end);
    return 0;
}

int proc_locks(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct inode_list l = {0};
    unsigned int nr = 0;
    int r = proc_for_each_file(n->k, add_inode, &l);

    if (l.nr)
        qsort(l.inodes, l.nr, sizeof(l.inodes[0]), by_address);
    for (size_t i = 0; i < l.nr; i++) {
        struct show_lock sl = {s, l.inodes[i], &nr};
        if (r == 0 && (i == 0 || l.inodes[i] != l.inodes[i - 1]))
            r = locks_for_each(l.inodes[i], show_lock, &sl);
    }
    for (size_t i = 0; i < l.nr; i++)
        inode_put(l.inodes[i]);
    free(l.inodes);
    return r;
}
