/*
 * What the loader builds a fresh address space with: the layout and its randomisation (arch/x86/mm/mmap.c in Linux), the stack,
 * the vDSO's pages, and handing all that was loaded to the platform at once.
 */
#include "sentry/mm/mm_internal.h"

#include <stdlib.h>
#include <sys/random.h>

#define MMAP_RND_BITS  28 /* pages */
#define STACK_RND_BITS 22 /* pages: 16 GiB */
#define BRK_RND        (32ULL << 20)
#define MIN_STACK_GAP  (128ULL << 20)

void mm_plan_exec(struct mm *mm, uint64_t stack_limit, bool randomize, struct mm_exec_layout *out)
{
    uint64_t top = mm_task_size(mm), gap = stack_limit, max_gap = top / 6 * 5, pad, rnd[4] = {0};

    /* Without randomness the layout is merely predictable. */
    if (randomize && getrandom(rnd, sizeof(rnd), 0) != sizeof(rnd))
        rnd[0] = rnd[1] = rnd[2] = rnd[3] = 0;
    mm_wrlock(mm);
    atomic_store_explicit(&mm->stack_limit, stack_limit, memory_order_relaxed);
    pad = ((1ULL << STACK_RND_BITS) - 1) * PAGE * randomize + STACK_GUARD;
    if (gap <= UINT64_MAX - pad)
        gap += pad;
    gap = gap < MIN_STACK_GAP ? MIN_STACK_GAP : gap > max_gap ? max_gap : gap;
    mm->mmap_base = page_down(top - gap - rnd[0] % (1ULL << MMAP_RND_BITS) * PAGE);
    out->stack_top = page_down(top - rnd[1] % (1ULL << STACK_RND_BITS) * PAGE);
    out->pie_base = page_down(top / 3 * 2 + rnd[2] % (1ULL << MMAP_RND_BITS) * PAGE);
    out->brk_gap = page_down(rnd[3] % BRK_RND);
    mm_wrunlock(mm);
}

int mm_map_stack(struct mm *mm, const struct mm_limits *lim, uint64_t top, uint64_t len, bool executable)
{
    int prot = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
    int64_t r =
        mm_mmap(mm, lim, top - len, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_GROWSDOWN, NULL, 0);

    return r < 0 ? (int)r : 0;
}

int64_t mm_map_special(struct mm *mm, uint64_t addr, uint64_t len, int prot, uint64_t memfile_off, const char *name)
{
    struct vma *v = vma_alloc();

    if (!v)
        return -ENOMEM;
    v->start = addr;
    v->end = addr + len;
    v->special = memfile_off;
    v->name = name;
    /* A debugger may put breakpoints into code, on a private copy; data are the sentry's. */
    v->flags = ((uint32_t)prot & VM_PROT) | VM_SPECIAL | VM_MAYREAD | VM_MAYEXEC | VM_DONTEXPAND;
    if (prot & PROT_EXEC)
        v->flags |= VM_MAYWRITE;
    mm_wrlock(mm);
    if (!mm_range_ok(mm, addr, len) || !vma_range_free(mm, addr, addr + len)) {
        mm_wrunlock(mm);
        free(v);
        return -ENOMEM;
    }
    vma_link(mm, v);
    mm_wrunlock(mm);
    return (int64_t)addr;
}

static void touch(struct mm *mm, uint64_t addr, unsigned int access)
{
    struct mm_fault_in in = {.vma = vma_at(mm, addr), .addr = page_down(addr), .access = access};

    if (in.vma && (in.vma->flags & access) && !(ptab_get(&mm->pt, in.addr) & PTE_PRESENT))
        mm_fault_page(mm, &in); /* only saves a fault: the guest's own will tell what is wrong */
}

/* The program's segments, the interpreter's and the vDSO: all of them will be touched. */
static void touch_segments(struct mm *mm)
{
    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        if (v->flags & VM_SPECIAL)
            touch(mm, v->start, VM_READ);
        if (!(v->flags & VM_DENYWRITE) || !(v->flags & VM_PROT))
            continue;
        if ((v->flags & VM_WRITE) && vma_len(v) <= MM_SMALL_DATA)
            touch(mm, v->start, VM_WRITE);
        touch(mm, v->start, VM_READ);
    }
}

int mm_finish_load(struct mm *mm, uint64_t ip, uint64_t sp)
{
    int r;

    mm_wrlock(mm);
    touch_segments(mm);
    touch(mm, ip, VM_EXEC);
    touch(mm, sp, VM_WRITE);
    mm->loading = false;
    mm->nr_fresh = 0;
    r = mm_map_present(mm, 0, mm_task_size(mm), MM_BATCH_OPS, false);
    mm_wrunlock(mm);
    return r;
}
