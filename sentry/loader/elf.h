/*
 * The ELF format, as far as execve(2) looks at it: parsing and checking of hostile bytes, without any mapping. Fuzzed alone by
 * tests/fuzz/elf_fuzz.c.
 */
#ifndef SENTRY_LOADER_ELF_H
#define SENTRY_LOADER_ELF_H

#include "lib/compiler.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Where bytes come from: exactly `n` at `off`, or 0 < r < n at the end of file, or -errno. */
struct elf_source {
    ssize_t (*read)(void *arg, void *buf, size_t n, uint64_t off);
    void *arg;
};

#define ELF_MAX_SEGMENTS 128
#define ELF_PAGE         4096ULL

struct elf_segment {
    uint64_t vaddr, offset, filesz, memsz; /* page offsets of vaddr and offset agree; no sum overflows */
    int prot;
};

struct elf_image {
    bool position_independent;
    bool exec_stack;     /* PT_GNU_STACK asks for one */
    uint64_t entry;      /* not checked: a wild one faults */
    uint64_t phdr_vaddr; /* where the program headers will be in memory; 0 if in no segment */
    unsigned int phnum;
    struct elf_segment segment[ELF_MAX_SEGMENTS]; /* PT_LOADs in order */
    unsigned int nr_segments;
    uint64_t min_vaddr, max_vaddr; /* page-aligned hull of all segments */
    uint64_t align;                /* the largest segment alignment, at least a page */
    char interp[4096];             /* "" if none */
};

/*
 * Reads and checks an x86-64 executable or shared object. `head` is the file's first `head_len` bytes. 0, or -ENOEXEC for what
 * is not one or is malformed, -EIO when the interpreter's name cannot be read.
 */
int must_check elf_parse(const struct elf_source *src, const void *head, size_t head_len, struct elf_image *out);

#endif
