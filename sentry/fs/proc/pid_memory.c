/* What is read out of a process's memory: /proc/PID/{cmdline,environ,auxv,mem,pagemap}. */
#include "sentry/fs/proc/proc.h"

#include "sentry/mm/mm.h"
#include "sentry/mm/usercopy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STRINGS_MAX (4UL << 20) /* execve allows 2 MiB of strings; prctl(PR_SET_MM) could claim anything */

/* Appends [from, to) of the memory, as far as it can be read. */
static void add_range(struct seq *s, struct mm *mm, uint64_t from, uint64_t to)
{
    char page[GUEST_PAGE_SIZE];

    if (to - from > STRINGS_MAX)
        to = from + STRINGS_MAX;
    while (from < to) {
        size_t n = GUEST_PAGE_SIZE - from % GUEST_PAGE_SIZE;
        if (n > to - from)
            n = to - from;
        if (mm_copy_in_force(mm, page, guest_addr_of(from), n))
            return;
        seq_write(s, page, n);
        from += n;
    }
}

int proc_pid_cmdline(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    struct mm_layout lay;
    struct mm *mm;

    if (!t)
        return -ESRCH;
    mm = task_get_mm(t);
    task_put(t);
    if (!mm)
        return 0;
    mm_get_layout(mm, &lay);
    if (lay.arg_start < lay.arg_end) {
        size_t before = s->len;
        add_range(s, mm, lay.arg_start, lay.arg_end);
        /* A program that wrote its title over its arguments, and went on into the environment: one string, to its NUL. */
        if (!s->failed && s->len == before + (lay.arg_end - lay.arg_start) && s->buf[s->len - 1] &&
            lay.env_start == lay.arg_end) {
            char *nul;
            add_range(s, mm, lay.env_start, lay.env_end);
            nul = s->failed ? NULL : memchr(s->buf + before, 0, s->len - before);
            if (nul)
                s->len = nul + 1 - s->buf;
        }
    }
    mm_put(mm);
    return 0;
}

int proc_pid_environ(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct mm *mm = s->state;
    struct mm_layout lay;

    if (!mm)
        return 0;
    mm_get_layout(mm, &lay);
    if (lay.env_start < lay.env_end)
        add_range(s, mm, lay.env_start, lay.env_end);
    return 0;
}

int proc_pid_auxv(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct mm *mm = s->state;
    struct mm_layout lay;
    size_t words = 0;

    if (!mm)
        return 0;
    mm_get_layout(mm, &lay);
    while (words + 2 <= ARRAY_SIZE(lay.auxv) && words < lay.nr_auxv && lay.auxv[words])
        words += 2;
    if (words + 2 <= ARRAY_SIZE(lay.auxv) && words + 2 <= lay.nr_auxv)
        words += 2; /* AT_NULL */
    seq_write(s, lay.auxv, words * sizeof(lay.auxv[0]));
    return 0;
}

/*
 * mem: the process's memory as a file, regardless of its own protections. The mm is fixed at open: after an exec the file shows
 * the old one, which is gone (reads give 0).
 */
static ssize_t mem_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    char page[GUEST_PAGE_SIZE];
    ssize_t done = 0, r = 0;

    while (f->priv && uio->resid) {
        uint64_t addr = (uint64_t)*pos;
        size_t n = GUEST_PAGE_SIZE - addr % GUEST_PAGE_SIZE;
        if (n > uio->resid)
            n = uio->resid;
        if (mm_copy_in_force(f->priv, page, guest_addr_of(addr), n)) {
            r = -EIO;
            break;
        }
        r = uio_copy_to(uio, page, n);
        if (r <= 0)
            break;
        *pos += r;
        done += r;
    }
    return done ? done : r;
}

static ssize_t mem_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    char page[GUEST_PAGE_SIZE];
    ssize_t done = 0, r = 0;

    while (f->priv && uio->resid) {
        uint64_t addr = (uint64_t)*pos;
        size_t n = GUEST_PAGE_SIZE - addr % GUEST_PAGE_SIZE;
        if (n > uio->resid)
            n = uio->resid;
        r = uio_copy_from(uio, page, n);
        if (r <= 0)
            break;
        if (mm_copy_out_force(f->priv, guest_addr_of(addr), page, r)) {
            r = -EIO;
            break;
        }
        *pos += r;
        done += r;
    }
    return done ? done : r;
}

/* Addresses of the whole 64 bits are positions. */
static loff_t mem_llseek(struct file *f, loff_t off, int whence)
{
    switch (whence) {
    case SEEK_SET:
        f->pos = off;
        return off;
    case SEEK_CUR:
        f->pos += off;
        return f->pos;
    default:
        return -EINVAL;
    }
}

static void mem_release(struct file *f)
{
    if (f->priv)
        mm_put(f->priv);
}

static const struct file_ops mem_ops = {
    .read = mem_read,
    .write = mem_write,
    .llseek = mem_llseek,
    .release = mem_release,
};

int proc_pid_mem_open(const struct pseudo_node *n, struct file *f, const struct vfs_caller *c)
{
    int r = proc_open_mm(n, c, &f->priv);

    if (r)
        return r;
    f->ops = &mem_ops;
    f->mode |= FMODE_LSEEK | FMODE_PSEEK;
    return 0;
}

/*
 * pagemap: eight bytes for each page of the address space. Page frame numbers are zero, as for readers without CAP_SYS_ADMIN.
 */
#define PM_PRESENT (1ULL << 63)
#define PM_FILE    (1ULL << 61)

static ssize_t pagemap_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    const uint64_t nr_pages = 1ULL << (47 - 12);
    ssize_t done = 0;

    if (*pos < 0 || *pos % 8 || uio->resid % 8)
        return -EINVAL;
    while (f->priv && uio->resid && (uint64_t)*pos / 8 < nr_pages) {
        uint64_t page = (uint64_t)*pos / 8, entries[256] = {0};
        size_t n = uio->resid / 8 < ARRAY_SIZE(entries) ? uio->resid / 8 : ARRAY_SIZE(entries);
        uint8_t state[ARRAY_SIZE(entries)];
        ssize_t r;

        if (n > nr_pages - page)
            n = nr_pages - page;
        mm_pagemap(f->priv, page * GUEST_PAGE_SIZE, n, state);
        for (size_t i = 0; i < n; i++)
            entries[i] = (state[i] & MM_PAGE_PRESENT ? PM_PRESENT : 0) | (state[i] & MM_PAGE_FILE ? PM_FILE : 0);
        r = uio_copy_to(uio, entries, n * 8);
        if (r <= 0)
            return done ? done : r;
        *pos += r;
        done += r;
        if ((size_t)r < n * 8)
            break;
    }
    return done;
}

static const struct file_ops pagemap_ops = {
    .read = pagemap_read,
    .llseek = mem_llseek,
    .release = mem_release,
};

int proc_pid_pagemap_open(const struct pseudo_node *n, struct file *f, const struct vfs_caller *c)
{
    int r = proc_open_mm(n, c, &f->priv);

    if (r)
        return r;
    f->ops = &pagemap_ops;
    f->mode |= FMODE_LSEEK | FMODE_PSEEK;
    return 0;
}
