/* Finding guest pages that are there already; for usercopy.c and uio.c. mm->lock is held, for reading at least. */
#ifndef SENTRY_MM_RESIDENT_H
#define SENTRY_MM_RESIDENT_H

#include "sentry/mm/mm_internal.h"

/* While a program is being loaded nothing is mapped yet, and all that is present may be touched. */
static inline bool mm_loaded_usable(struct mm *mm, pte_t pte, bool write)
{
    if (!mm->loading || !(pte & PTE_PRESENT) || (pte & PTE_FILE))
        return false;
    return !write || ((pte & PTE_ANON) && memfile_exclusive(mm->s->mf, pte & PTE_FRAME));
}

/* Where the byte at `addr` is in the memory file, if it is there and the guest may access it as things are; else NULL. */
static inline uint8_t *mm_resident(struct mm *mm, uint64_t addr, bool write)
{
    const pte_t need = write ? PTE_MAPPED | PTE_WRITE : PTE_MAPPED;
    pte_t pte = ptab_get(&mm->pt, addr);

    if (likely((pte & (need | PTE_FILE)) == need) || unlikely(mm_loaded_usable(mm, pte, write)))
        return mm_frame_ptr(mm, pte) + (addr & (PAGE - 1));
    return NULL;
}

/* The same for a host file's page: w->ptr + (addr & 4095), until file_window_put(). */
static inline bool mm_resident_file(struct mm *mm, uint64_t addr, bool write, struct file_window *w)
{
    const pte_t need = PTE_PRESENT | PTE_FILE | (mm->loading ? 0 : PTE_MAPPED) | (write ? PTE_WRITE : 0);
    pte_t pte = ptab_get(&mm->pt, addr);
    struct vma *v;

    if ((pte & need) != need)
        return false;
    v = vma_at(mm, addr);
    return v && v->vf && file_window_get(v->vf, vma_file_offset(v, page_down(addr)), PAGE, write, w) == 0;
}

#endif
