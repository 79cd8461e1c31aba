#include "sentry/loader/elf.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Linux reads at most 64 KiB of program headers. */
#define MAX_PHDR_BYTES 65536
#define MAX_USER_ADDR  0x7ffffffff000ULL

static int segment_prot(uint32_t flags)
{
    return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

static int check_header(const Elf64_Ehdr *eh)
{
    if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 || eh->e_ident[EI_CLASS] != ELFCLASS64)
        return -ENOEXEC;
    if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
        return -ENOEXEC;
    if (eh->e_machine != EM_X86_64 || eh->e_phentsize != sizeof(Elf64_Phdr))
        return -ENOEXEC;
    if (eh->e_phnum == 0 || (size_t)eh->e_phnum * sizeof(Elf64_Phdr) > MAX_PHDR_BYTES)
        return -ENOEXEC;
    return 0;
}

/* Checks a PT_LOAD so that no later sum overflows or leaves the user's half of the address space, and adds it. */
static int add_segment(struct elf_image *img, const Elf64_Phdr *ph)
{
    struct elf_segment *s;
    uint64_t start = ph->p_vaddr & ~(ELF_PAGE - 1), end;

    if (ph->p_memsz == 0)
        return 0; /* nothing to map */
    if (ph->p_filesz > ph->p_memsz || (ph->p_vaddr & (ELF_PAGE - 1)) != (ph->p_offset & (ELF_PAGE - 1)))
        return -ENOEXEC;
    if (ph->p_vaddr > MAX_USER_ADDR || ph->p_memsz > MAX_USER_ADDR - ph->p_vaddr || ph->p_offset > INT64_MAX - ph->p_memsz)
        return -ENOEXEC;
    if (img->nr_segments == ELF_MAX_SEGMENTS)
        return -ENOEXEC;
    end = (ph->p_vaddr + ph->p_memsz + ELF_PAGE - 1) & ~(ELF_PAGE - 1);
    s = &img->segment[img->nr_segments++];
    *s = (struct elf_segment){.vaddr = ph->p_vaddr,
                              .offset = ph->p_offset,
                              .filesz = ph->p_filesz,
                              .memsz = ph->p_memsz,
                              .prot = segment_prot(ph->p_flags)};
    if (img->nr_segments == 1 || start < img->min_vaddr)
        img->min_vaddr = start;
    if (end > img->max_vaddr)
        img->max_vaddr = end;
    /* As Linux: only powers of two count, others are ignored. */
    if (ph->p_align > img->align && (ph->p_align & (ph->p_align - 1)) == 0 && ph->p_align <= 1ULL << 30)
        img->align = ph->p_align;
    return 0;
}

static int read_interp(const struct elf_source *src, const Elf64_Phdr *ph, struct elf_image *img)
{
    if (img->interp[0])
        return 0; /* the first one counts */
    if (ph->p_filesz < 2 || ph->p_filesz > sizeof(img->interp) || ph->p_offset > INT64_MAX)
        return -ENOEXEC;
    if (src->read(src->arg, img->interp, ph->p_filesz, ph->p_offset) != (ssize_t)ph->p_filesz)
        return -EIO;
    if (img->interp[ph->p_filesz - 1] != 0)
        return -ENOEXEC;
    return img->interp[0] ? 0 : -ENOEXEC;
}

/* Program headers are found where the file part of a segment covers them: for AT_PHDR. */
static void note_phdrs(struct elf_image *img, uint64_t phoff)
{
    for (unsigned int i = 0; i < img->nr_segments; i++) {
        const struct elf_segment *s = &img->segment[i];

        if (s->offset <= phoff && phoff - s->offset < s->filesz) {
            img->phdr_vaddr = s->vaddr + (phoff - s->offset);
            return;
        }
    }
}

int elf_parse(const struct elf_source *src, const void *head, size_t head_len, struct elf_image *out)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph;
    int r;

    if (head_len < sizeof(eh))
        return -ENOEXEC;
    memcpy(&eh, head, sizeof(eh));
    r = check_header(&eh);
    if (r)
        return r;
    memset(out, 0, sizeof(*out));
    out->position_independent = eh.e_type == ET_DYN;
    out->entry = eh.e_entry;
    out->phnum = eh.e_phnum;
    out->align = ELF_PAGE;
    out->exec_stack = false; /* as on x86-64 since Linux 5.8: only who asks gets one */
    if (eh.e_phoff > INT64_MAX - MAX_PHDR_BYTES)
        return -ENOEXEC;
    for (unsigned int i = 0; i < eh.e_phnum; i++) {
        uint64_t off = eh.e_phoff + i * sizeof(ph);

        if (off + sizeof(ph) <= head_len)
            memcpy(&ph, (const char *)head + off, sizeof(ph));
        else if (src->read(src->arg, &ph, sizeof(ph), off) != sizeof(ph))
            return -ENOEXEC;
        if (ph.p_type == PT_LOAD)
            r = add_segment(out, &ph);
        else if (ph.p_type == PT_INTERP)
            r = read_interp(src, &ph, out);
        else if (ph.p_type == PT_GNU_STACK)
            out->exec_stack = ph.p_flags & PF_X;
        if (r)
            return r;
    }
    if (out->nr_segments == 0)
        return -ENOEXEC;
    note_phdrs(out, eh.e_phoff);
    return 0;
}
