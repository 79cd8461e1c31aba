/*
 * Page faults: what the guest's touching an address leads to.
 *
 * mm_fault() finds the vma, checks its protection, and then repeats the one step that is missing (fill the page, copy it for
 * writing, tell the platform) until the access can go on. A fault on a page that is there already is normal: two threads
 * touched it at once, or a hostile guest made it up.
 */
#include "sentry/mm/mm_internal.h"
#include "sentry/mm/safe_access.h"

#include <signal.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define MAX_STEPS 8

/* Linux extends the stack page by page; with a fault so much dearer the main stack grows by some more at once. */
#define STACK_STEP (16 * PAGE)

static struct vma *grow_stack(struct mm *mm, struct vma *v, uint64_t addr, uint64_t limit)
{
    struct vma *prev = vma_prev(v);
    uint64_t start = page_down(addr), floor = page_up(mm->s->limits.min);

    /* Neighbours that may be touched keep their distance; see acct_stack_growth() and expand_downwards() in Linux. */
    if (prev && !(prev->flags & VM_GROWSDOWN) && (prev->flags & VM_PROT))
        floor = prev->end + STACK_GUARD;
    else if (prev)
        floor = prev->end;
    if (mm->s->limits.hole_end > floor && mm->s->limits.hole_end <= v->start)
        floor = mm->s->limits.hole_end;
    if (start < floor || v->end - start > limit)
        return NULL;
    if (v->start <= mm->layout.start_stack && mm->layout.start_stack < v->end) {
        uint64_t more = start & ~(STACK_STEP - 1);
        if (more >= floor && v->end - more <= limit)
            start = more;
    }
    vma_set_range(mm, v, start, v->end);
    return v;
}

struct vma *mm_fault_vma(struct mm *mm, uint64_t addr, uint64_t stack_limit)
{
    struct vma *v = vma_at(mm, addr);

    if (v)
        return v;
    v = vma_find(mm, addr);
    return v && (v->flags & VM_GROWSDOWN) ? grow_stack(mm, v, addr, stack_limit) : NULL;
}

/* Whether a file page that is mapped all the same can be read: if not, the host cut the file. */
static bool file_page_readable(struct vma *v, uint64_t addr)
{
    struct file_window w;
    uint8_t byte;
    bool ok;

    if (file_window_get(v->vf, vma_file_offset(v, addr), PAGE, false, &w) < 0)
        return false;
    ok = safe_copy(&byte, w.ptr, 1) == 0;
    file_window_put(&w);
    return ok;
}

enum step { STEP_DONE, STEP_FILL, STEP_WRITABLE, STEP_MAP };

static enum step missing_step(struct mm *mm, const struct mm_fault_in *in)
{
    pte_t pte = ptab_get(&mm->pt, in->addr);

    if (!(pte & PTE_PRESENT))
        return STEP_FILL;
    if (in->access == VM_WRITE && !(pte & PTE_WRITE)) {
        if (in->vma->flags & VM_SHARED) {
            if (!mm->loading)
                return STEP_WRITABLE;
        } else if (!(pte & PTE_ANON) || !memfile_exclusive(mm->s->mf, pte & PTE_FRAME)) {
            return STEP_WRITABLE;
        } else if ((pte & PTE_MAPPED) && (in->vma->flags & VM_WRITE)) {
            return STEP_WRITABLE;
        }
    }
    if (!(pte & PTE_MAPPED) && !mm->loading && (in->vma->flags & VM_PROT))
        return STEP_MAP;
    return STEP_DONE;
}

/* Maps present pages about `addr` that the platform has not. */
static int map_around(struct mm *mm, struct vma *v, uint64_t addr)
{
    uint64_t start = addr & ~(512 * PAGE - 1), end = start + 512 * PAGE;

    start = start > v->start ? start : v->start;
    end = end < v->end ? end : v->end;
    int r = mm_map_present(mm, start, end, MM_BATCH_OPS, false);
    if (r == 0 && !(ptab_get(&mm->pt, addr) & PTE_MAPPED))
        r = mm_map_present(mm, addr, addr + PAGE, MM_BATCH_OPS, false); /* too scattered for one batch */
    return r;
}

enum mm_fault_result mm_fault_page(struct mm *mm, const struct mm_fault_in *in)
{
    int r = 0;

    if (mm->broken)
        return MM_FAULT_OOM;
    for (int i = 0; i < MAX_STEPS; i++) {
        switch (missing_step(mm, in)) {
        case STEP_DONE:
            if (i == 0 && (ptab_get(&mm->pt, in->addr) & PTE_FILE) && !file_page_readable(in->vma, in->addr)) {
                r = mm_zap(mm, in->addr, in->addr + PAGE);
                return r < 0 ? MM_FAULT_OOM : MM_FAULT_BUS;
            }
            mm->rss_peak = mm_rss(mm) > mm->rss_peak ? mm_rss(mm) : mm->rss_peak;
            return MM_FAULT_OK;
        case STEP_FILL:
            r = mm_fill(mm, in);
            break;
        case STEP_WRITABLE:
            r = mm_make_writable(mm, in);
            break;
        case STEP_MAP:
            r = map_around(mm, in->vma, in->addr);
            break;
        }
        if (r < 0 && r != -EAGAIN)
            break;
    }
    return r == -ENOMEM ? MM_FAULT_OOM : MM_FAULT_BUS;
}

static bool access_allowed(const struct vma *v, unsigned int access)
{
    if (access == VM_READ)
        return v->flags & VM_PROT;
    return v->flags & access;
}

void mm_note_limits(struct mm *mm, const struct mm_limits *lim)
{
    atomic_store_explicit(&mm->stack_limit, lim->stack, memory_order_relaxed);
}

enum mm_fault_result mm_fault(struct mm *mm, uint64_t addr, unsigned int access, const struct mm_limits *lim, int *code)
{
    struct mm_fault_in in = {.addr = page_down(addr), .access = access};
    enum mm_fault_result res = MM_FAULT_SEGV;

    if (lim)
        mm_note_limits(mm, lim);
    *code = SEGV_MAPERR;
    if (addr >= mm_task_size(mm))
        return MM_FAULT_SEGV;
    mm_wrlock(mm);
    atomic_fetch_add_explicit(&mm->minor_faults, 1, memory_order_relaxed);
    in.vma = mm_fault_vma(mm, addr, atomic_load_explicit(&mm->stack_limit, memory_order_relaxed));
    if (in.vma) {
        *code = SEGV_ACCERR;
        if (access_allowed(in.vma, access))
            res = mm_fault_page(mm, &in);
    }
    mm_wrunlock(mm);
    return res;
}

int mm_fault_range(struct mm *mm, uint64_t start, uint64_t len, unsigned int access)
{
    uint64_t first = page_down(start), end = start + len;
    uint64_t stack_limit = atomic_load_explicit(&mm->stack_limit, memory_order_relaxed);
    int r = -EFAULT;

    if (!mm_range_ok(mm, start, len))
        return -EFAULT;
    mm_wrlock(mm);
    for (uint64_t a = first; a < end; a += PAGE) {
        struct mm_fault_in in = {.addr = a, .access = access, .want = end - a};
        pte_t pte = ptab_get(&mm->pt, a);
        if ((pte & PTE_MAPPED) && (access == VM_READ || (pte & PTE_WRITE))) {
            r = 0;
            continue;
        }
        in.vma = mm_fault_vma(mm, a, stack_limit);
        if (!in.vma || !access_allowed(in.vma, access) || mm_fault_page(mm, &in) != MM_FAULT_OK)
            break;
        atomic_fetch_add_explicit(&mm->minor_faults, 1, memory_order_relaxed);
        r = 0; /* one page is enough for the caller to go on with */
    }
    mm_wrunlock(mm);
    return r;
}

/* Pages of a window that nobody touched are reserved in the memory file, but not allocated yet: now they are. */
static void populate_host(struct mm *mm, uint64_t start, uint64_t end)
{
    struct pte_run run;

    for (uint64_t at = start; at < end && ptab_next_run(&mm->pt, at, end, &run); at = run.end)
        if (!(run.pte & PTE_FILE))
            madvise(mm_frame_ptr(mm, run.pte), run.end - run.start, MADV_POPULATE_WRITE); /* only a wish */
}

int mm_populate_locked(struct mm *mm, uint64_t start, uint64_t end, bool write_only)
{
    uint64_t first = end; /* the first page that the platform may not have populated */

    for (uint64_t a = start; a < end; a += PAGE) {
        struct mm_fault_in in = {.vma = vma_at(mm, a), .addr = a, .access = VM_READ, .want = end - a, .populate = true};
        struct vma *v = in.vma;
        bool there = ptab_get(&mm->pt, a) & PTE_PRESENT;
        if (!v)
            return -ENOMEM;
        if (!(v->flags & VM_PROT) || (write_only && !(v->flags & VM_WRITE)))
            return -EFAULT;
        if (write_only || (v->flags & (VM_WRITE | VM_SHARED)) == VM_WRITE)
            in.access = VM_WRITE;
        if (in.want > v->end - a)
            in.want = v->end - a;
        switch (mm_fault_page(mm, &in)) {
        case MM_FAULT_OK:
            if ((there || v->vf) && first == end)
                first = a;
            break;
        case MM_FAULT_OOM:
            return -ENOMEM;
        default:
            return -EFAULT;
        }
    }
    if (first < end)
        populate_host(mm, first, end);
    return 0;
}
