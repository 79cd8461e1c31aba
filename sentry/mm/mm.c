/* Life of an address space, its layout, and what /proc shows of it as a whole. */
#include "sentry/mm/mm.h"

#include "sentry/mm/mm_internal.h"
#include "sentry/mm/safe_access.h"
#include "sentry/mm/text.h"
#include "vfs/inode.h"

#include <stdlib.h>
#include <sys/random.h>

void mm_shared_set_ram(struct mm_shared *s, uint64_t total_ram)
{
    __atomic_store_n(&s->total_ram, total_ram, __ATOMIC_RELAXED);
}

int mm_shared_create(struct platform *p, struct memfile *mf, uint64_t total_ram, struct mm_shared **out)
{
    struct mm_shared *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->platform = p;
    s->limits = *platform_limits(p);
    s->mf = mf;
    s->mf_base = memfile_ptr(mf, 0);
    s->mf_fd = memfile_fd(mf);
    s->total_ram = total_ram;
    r = safe_access_init();
    if (r == 0)
        r = file_map_table_create(&s->file_maps);
    if (r < 0) {
        free(s);
        return r;
    }
    *out = s;
    return 0;
}

void mm_shared_destroy(struct mm_shared *s)
{
    if (!s)
        return;
    file_map_table_destroy(s->file_maps);
    free(s);
}

int mm_alloc(struct mm_shared *s, struct platform_as *fork_of, struct mm **out)
{
    struct mm *mm = calloc(1, sizeof(*mm));
    int r;

    if (!mm)
        return -ENOMEM;
    ref_init(&mm->ref);
    mm->s = s;
    rwlock_init(&mm->lock);
    vma_tree_init(mm);
    ptab_init(&mm->pt);
    mm->mmap_base = s->limits.max;
    atomic_init(&mm->stack_limit, 8 << 20);
    r = platform_as_create(s->platform, fork_of, &mm_text_ops, mm, &mm->as);
    if (r < 0) {
        rwlock_fini(&mm->lock);
        free(mm);
        return r;
    }
    *out = mm;
    return 0;
}

int mm_create(struct mm_shared *s, struct mm **out)
{
    int r = mm_alloc(s, NULL, out);

    if (r == 0)
        (*out)->loading = true;
    return r;
}

struct mm *mm_get(struct mm *mm)
{
    ref_get(&mm->ref);
    return mm;
}

static void put_exe(struct file *exe)
{
    if (!exe)
        return;
    inode_allow_write(exe->inode);
    file_put(exe);
}

void mm_wrunlock(struct mm *mm) NO_THREAD_SAFETY_ANALYSIS
{
    struct vma_file *vf = mm->dead_files, *next;

    mm->dead_files = NULL;
    rwlock_wrunlock(&mm->lock);
    for (; vf; vf = next) {
        next = vf->next_dead;
        vma_file_destroy(vf);
    }
}

void mm_put(struct mm *mm)
{
    struct pte_run run;
    struct vma *v;

    if (!ref_put(&mm->ref))
        return;
    /* First nobody can reach the pages any more, then they go. */
    platform_as_destroy(mm->as);
    mm_wrlock(mm);
    mm_limbo_release(mm);
    for (uint64_t at = 0; ptab_next_run(&mm->pt, at, UINT64_MAX, &run); at = run.end)
        if (!(run.pte & PTE_FILE))
            memfile_put(mm->s->mf, run.pte & PTE_FRAME, run.end - run.start);
    ptab_fini(&mm->pt);
    while ((v = vma_of(mm->vmas.node)))
        vma_remove(mm, v);
    mm_wrunlock(mm);
    put_exe(mm->exe);
    hot_pages_put(mm->hot);
    rwlock_fini(&mm->lock);
    free(mm);
}

struct platform_as *mm_platform_as(struct mm *mm)
{
    return mm->as;
}

void mm_get_layout(struct mm *mm, struct mm_layout *out)
{
    mm_rdlock(mm);
    *out = mm->layout;
    mm_rdunlock(mm);
}

void mm_set_layout(struct mm *mm, const struct mm_layout *in)
{
    mm_wrlock(mm);
    mm->layout = *in;
    mm_wrunlock(mm);
}

int mm_set_exe_file(struct mm *mm, struct file *f)
{
    struct file *old;
    int r = inode_deny_write(f->inode);

    if (r < 0)
        return r;
    mm_wrlock(mm);
    old = mm->exe;
    mm->exe = file_get(f);
    mm_wrunlock(mm);
    put_exe(old);
    return 0;
}

struct file *mm_exe_file(struct mm *mm)
{
    mm_rdlock(mm);
    struct file *f = mm->exe ? file_get(mm->exe) : NULL;
    mm_rdunlock(mm);
    return f;
}

void mm_get_stats(struct mm *mm, struct mm_stats *out)
{
    mm_rdlock(mm);
    uint64_t rss = mm_rss(mm);
    *out = (struct mm_stats){
        .vm_size = mm->total_vm,
        .vm_peak = mm->total_vm_peak,
        .rss_anon = mm->pt.nr_anon * PAGE,
        .rss_file = mm->pt.nr_file * PAGE,
        .rss_shmem = mm->pt.nr_shmem * PAGE,
        .rss_peak = (rss > mm->rss_peak ? rss : mm->rss_peak) * PAGE,
        .locked = mm->locked_vm,
        .data = mm->data_vm,
        .stack = mm->stack_vm,
        .text = mm->exec_vm,
        .minor_faults = atomic_load_explicit(&mm->minor_faults, memory_order_relaxed),
    };
    mm_rdunlock(mm);
}
