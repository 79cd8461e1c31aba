/* /proc/PID/{maps,smaps,smaps_rollup}. One area is looked at at a time, so that a process with many does not stand still. */
#include "sentry/fs/proc/proc.h"

#include "sentry/mm/mm.h"
#include "vfs/fs_struct.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#define NAME_COLUMN 73 /* where names begin, as in Linux */

static void show_line(struct seq *s, const struct mm_vma_info *v, const struct path *root)
{
    size_t from = s->len;
    const struct inode *inode = v->file ? v->file->inode : NULL;
    char name[PATH_MAX];

    seq_printf(s, "%08" PRIx64 "-%08" PRIx64 " %c%c%c%c %08" PRIx64 " %02x:%02x %" PRIu64, v->start, v->end,
               v->prot & PROT_READ ? 'r' : '-', v->prot & PROT_WRITE ? 'w' : '-', v->prot & PROT_EXEC ? 'x' : '-',
               v->shared ? 's' : 'p', v->offset, inode ? major(inode->sb->dev) : 0, inode ? minor(inode->sb->dev) : 0,
               inode ? inode->ino : 0);
    seq_putc(s, ' ');
    if (v->name[0]) {
        seq_pad(s, from, NAME_COLUMN);
        seq_puts(s, v->name);
    } else if (v->file && vfs_path_name(&v->file->path, root, name, sizeof(name), true) >= 0) {
        seq_pad(s, from, NAME_COLUMN);
        seq_escape(s, name, "\n");
    }
    seq_putc(s, '\n');
}

struct usage {
    uint64_t size, rss, dirty, anonymous, locked;
};

static void add_usage(struct usage *u, const struct mm_vma_info *v)
{
    u->size += v->end - v->start;
    u->rss += v->rss;
    u->dirty += v->private_dirty;
    u->anonymous += v->file && v->shared ? 0 : v->private_dirty;
    u->locked += v->locked ? v->rss : 0;
}

static void show_kb(struct seq *s, const char *name, uint64_t bytes)
{
    size_t from = s->len;

    seq_printf(s, "%s:", name);
    seq_pad(s, from, 16);
    seq_printf(s, "%8" PRIu64 " kB\n", bytes / 1024);
}

static void show_usage(struct seq *s, const struct usage *u)
{
    uint64_t clean = u->rss > u->dirty ? u->rss - u->dirty : 0;

    show_kb(s, "Rss", u->rss);
    show_kb(s, "Pss", u->rss);
    show_kb(s, "Pss_Dirty", u->dirty);
    show_kb(s, "Shared_Clean", 0);
    show_kb(s, "Shared_Dirty", 0);
    show_kb(s, "Private_Clean", clean);
    show_kb(s, "Private_Dirty", u->dirty);
    show_kb(s, "Referenced", u->rss);
    show_kb(s, "Anonymous", u->anonymous);
    show_kb(s, "LazyFree", 0);
    show_kb(s, "AnonHugePages", 0);
    show_kb(s, "ShmemPmdMapped", 0);
    show_kb(s, "FilePmdMapped", 0);
    show_kb(s, "Shared_Hugetlb", 0);
    show_kb(s, "Private_Hugetlb", 0);
    show_kb(s, "Swap", 0);
    show_kb(s, "SwapPss", 0);
    show_kb(s, "Locked", u->locked);
}

static void show_flags(struct seq *s, const struct mm_vma_info *v)
{
    seq_puts(s, "VmFlags: ");
    if (v->prot & PROT_READ)
        seq_puts(s, "rd ");
    if (v->prot & PROT_WRITE)
        seq_puts(s, "wr ");
    if (v->prot & PROT_EXEC)
        seq_puts(s, "ex ");
    if (v->shared)
        seq_puts(s, "sh ");
    seq_puts(s, "mr mw me ");
    if (v->growsdown)
        seq_puts(s, "gd ");
    if (v->locked)
        seq_puts(s, "lo ");
    seq_putc(s, '\n');
}

static int show_all(struct seq *s, const struct vfs_caller *c, bool lines, bool details, struct usage *sum, uint64_t *first,
                    uint64_t *end)
{
    struct mm *mm = s->state;
    struct mm_vma_info v;
    struct path root;
    uint64_t from = 0;

    if (!mm)
        return 0;
    fs_get_root(c->fs, &root);
    while (!s->failed && mm_next_vma(mm, from, &v)) {
        if (from == 0)
            *first = v.start;
        *end = v.end;
        if (lines)
            show_line(s, &v, &root);
        if (details) {
            struct usage u = {0};
            add_usage(&u, &v);
            show_kb(s, "Size", u.size);
            show_kb(s, "KernelPageSize", GUEST_PAGE_SIZE);
            show_kb(s, "MMUPageSize", GUEST_PAGE_SIZE);
            show_usage(s, &u);
            seq_puts(s, "THPeligible:    0\n");
            show_flags(s, &v);
        }
        add_usage(sum, &v);
        if (v.file)
            file_put(v.file);
        from = v.end;
    }
    path_put(&root);
    return 0;
}

int proc_pid_maps(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct usage sum = {0};
    uint64_t first = 0, end = 0;

    return show_all(s, c, true, false, &sum, &first, &end);
}

int proc_pid_smaps(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct usage sum = {0};
    uint64_t first = 0, end = 0;

    return show_all(s, c, true, true, &sum, &first, &end);
}

int proc_pid_smaps_rollup(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct usage sum = {0};
    uint64_t first = 0, end = 0;
    size_t from;
    int r;

    if (!s->state)
        return -ESRCH;
    r = show_all(s, c, false, false, &sum, &first, &end);
    if (r)
        return r;
    from = s->len;
    seq_printf(s, "%08" PRIx64 "-%08" PRIx64 " ---p 00000000 00:00 0 ", first, end);
    seq_pad(s, from, NAME_COLUMN);
    seq_puts(s, "[rollup]\n");
    show_usage(s, &sum);
    return 0;
}
