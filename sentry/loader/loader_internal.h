/* Shared by the loader's parts. */
#ifndef SENTRY_LOADER_LOADER_INTERNAL_H
#define SENTRY_LOADER_LOADER_INTERNAL_H

#include "sentry/loader/elf.h"
#include "sentry/loader/loader.h"
#include "sentry/mm/mm.h"

/* What the stack and auxv need to know of the loaded program. */
struct loaded {
    struct mm *mm;
    struct mm_exec_layout plan;
    struct mm_limits limits;
    uint64_t phdr, phnum, entry; /* of the program, relocated */
    uint64_t interp_base;        /* 0 without an interpreter */
    uint64_t start_ip;           /* where to begin: the interpreter's or the program's entry */
    uint64_t vdso;               /* address of the image; 0 if none */
    bool exec_stack;
    struct mm_layout layout;
};

/* Maps the segments of `img`. `bias` is added to all addresses. The end of the highest segment's memory goes to *brk (unless
 * NULL). */
int must_check elf_map(struct loaded *ld, struct file *f, const struct elf_image *img, uint64_t bias, uint64_t *brk);

/* argv[0] replaced and preceded for scripts: the strings that the new program gets, in order. */
struct exec_args {
    const char *prefix[12]; /* interpreter, its argument, script names..., in order */
    size_t nr_prefix;
    struct exec_strings argv; /* what follows: the caller's argv, without its first when nr_prefix > 0 */
};

/* Writes strings, argv, envp and auxv to a new stack; the stack pointer goes to *sp. -E2BIG, -EFAULT, -ENOMEM. */
int must_check stack_build(struct kernel *k, struct loaded *ld, const struct exec_request *req, const struct exec_args *args,
                           uint64_t *sp);

#endif
