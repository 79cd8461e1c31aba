/* Mapping an ELF image's segments into a new address space, as Linux's elf_map and set_brk do. */
#include "sentry/loader/loader_internal.h"
#include "sentry/mm/usercopy.h"

#include <errno.h>
#include <sys/mman.h>

static int map_fixed(struct loaded *ld, uint64_t start, uint64_t len, int prot, int flags, struct file *f, uint64_t off)
{
    int64_t r = mm_mmap(ld->mm, &ld->limits, start, len, prot, MAP_PRIVATE | flags, f, off);

    return r < 0 ? (int)r : 0;
}

static int map_segment(struct loaded *ld, struct file *f, const struct elf_segment *s, uint64_t bias, int fixed)
{
    uint64_t start = (s->vaddr + bias) & ~(ELF_PAGE - 1), file_end = s->vaddr + bias + s->filesz;
    uint64_t end = (s->vaddr + bias + s->memsz + ELF_PAGE - 1) & ~(ELF_PAGE - 1);
    uint64_t map_end = (file_end + ELF_PAGE - 1) & ~(ELF_PAGE - 1);
    int r = 0;

    if (s->filesz > 0)
        r = map_fixed(ld, start, map_end - start, s->prot, fixed | MAP_DENYWRITE, f, s->offset & ~(ELF_PAGE - 1));
    else
        map_end = start;
    /* The rest of the last file page is bss, too. A read-only segment that asks for that keeps the file's bytes, as in Linux.
     */
    if (r == 0 && s->filesz > 0 && s->memsz > s->filesz && (file_end & (ELF_PAGE - 1)) && (s->prot & PROT_WRITE))
        r = mm_clear(ld->mm, guest_addr_of(file_end), ELF_PAGE - (file_end & (ELF_PAGE - 1)));
    if (r == 0 && end > map_end)
        r = map_fixed(ld, map_end, end - map_end, s->prot, fixed | MAP_ANONYMOUS, NULL, 0);
    return r;
}

int elf_map(struct loaded *ld, struct file *f, const struct elf_image *img, uint64_t bias, uint64_t *brk)
{
    uint64_t top = 0;

    for (unsigned int i = 0; i < img->nr_segments; i++) {
        const struct elf_segment *s = &img->segment[i];
        /* The address space is new, so only segments of one file can meet: later ones replace, as in Linux. */
        int r = map_segment(ld, f, s, bias, MAP_FIXED);

        if (r)
            return r;
        if (s->vaddr + bias + s->memsz > top)
            top = s->vaddr + bias + s->memsz;
        if ((s->prot & PROT_EXEC) && (ld->layout.start_code == 0 || s->vaddr + bias < ld->layout.start_code) && brk)
            ld->layout.start_code = s->vaddr + bias;
        if ((s->prot & PROT_EXEC) && brk && s->vaddr + bias + s->filesz > ld->layout.end_code)
            ld->layout.end_code = s->vaddr + bias + s->filesz;
        if (brk && s->vaddr + bias > ld->layout.start_data) {
            ld->layout.start_data = s->vaddr + bias;
            ld->layout.end_data = s->vaddr + bias + s->filesz;
        }
    }
    if (brk)
        *brk = top;
    return 0;
}
