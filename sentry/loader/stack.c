/*
 * The initial stack, from the top down: the file name, the environment's and arguments' strings, 16 random bytes, the
 * platform's name, then (16-byte aligned) argc, argv[], NULL, envp[], NULL and the auxiliary vector.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/loader/loader_internal.h"
#include "sentry/mm/usercopy.h"
#include "vfs/cred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#define AT_RSEQ_ALIGN        28
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
/* Linux's struct rseq up to mm_cid, and its alignment. */
#define RSEQ_FEATURE_SIZE 28
#define RSEQ_ALIGN        32
/* The stack is mapped at least this large at first; it grows on demand. */
#define INITIAL_STACK 0x21000ULL
/* Frame, siginfo, ucontext and alignment of a signal's frame without its FP state. */
#define SIGFRAME_BASE 1040
#define USER_HZ       100

struct writer {
    struct mm *mm;
    uint64_t sp;
    int err;
};

/* Pushes bytes; after the first error nothing more is written. */
static uint64_t push(struct writer *w, const void *data, size_t n)
{
    w->sp -= n;
    if (!w->err)
        w->err = mm_copy_out(w->mm, guest_addr_of(w->sp), data, n);
    return w->sp;
}

static uint64_t push_string(struct writer *w, const char *s)
{
    return push(w, s, strlen(s) + 1);
}

/* Appends the addresses of `count` consecutive strings at `addr`. */
static size_t list_strings(uint64_t *table, size_t at, const struct exec_strings *s, uint64_t addr)
{
    const char *p = s->data, *end = s->data + s->len;

    for (size_t i = 0; i < s->count && p < end; i++) {
        size_t n = strnlen(p, (size_t)(end - p)) + 1;

        table[at++] = addr + (uint64_t)(p - s->data);
        p += n;
    }
    return at;
}

static size_t put_aux(uint64_t *auxv, size_t n, uint64_t type, uint64_t value)
{
    auxv[n++] = type;
    auxv[n++] = value;
    return n;
}

static size_t fill_auxv(struct kernel *k, const struct loaded *ld, const struct exec_request *req, uint64_t *auxv,
                        uint64_t random, uint64_t platform, uint64_t execfn)
{
    const struct cred *c = req->caller->cred;
    size_t n = 0;

    if (ld->vdso)
        n = put_aux(auxv, n, AT_SYSINFO_EHDR, ld->vdso);
    n = put_aux(auxv, n, AT_MINSIGSTKSZ, SIGFRAME_BASE + platform_fp_size(k->platform) + 64);
    n = put_aux(auxv, n, AT_HWCAP, getauxval(AT_HWCAP));
    n = put_aux(auxv, n, AT_PAGESZ, GUEST_PAGE_SIZE);
    n = put_aux(auxv, n, AT_CLKTCK, USER_HZ);
    n = put_aux(auxv, n, AT_PHDR, ld->phdr);
    n = put_aux(auxv, n, AT_PHENT, sizeof(Elf64_Phdr));
    n = put_aux(auxv, n, AT_PHNUM, ld->phnum);
    n = put_aux(auxv, n, AT_BASE, ld->interp_base);
    n = put_aux(auxv, n, AT_FLAGS, 0);
    n = put_aux(auxv, n, AT_ENTRY, ld->entry);
    n = put_aux(auxv, n, AT_UID, c->uid);
    n = put_aux(auxv, n, AT_EUID, c->euid);
    n = put_aux(auxv, n, AT_GID, c->gid);
    n = put_aux(auxv, n, AT_EGID, c->egid);
    n = put_aux(auxv, n, AT_SECURE, req->secure);
    n = put_aux(auxv, n, AT_RANDOM, random);
    n = put_aux(auxv, n, AT_HWCAP2, getauxval(AT_HWCAP2));
    n = put_aux(auxv, n, AT_EXECFN, execfn);
    n = put_aux(auxv, n, AT_PLATFORM, platform);
    n = put_aux(auxv, n, AT_RSEQ_FEATURE_SIZE, RSEQ_FEATURE_SIZE);
    n = put_aux(auxv, n, AT_RSEQ_ALIGN, RSEQ_ALIGN);
    return put_aux(auxv, n, AT_NULL, 0);
}

static size_t prefix_bytes(const struct exec_args *args)
{
    size_t n = 0;

    for (size_t i = 0; i < args->nr_prefix; i++)
        n += strlen(args->prefix[i]) + 1;
    return n;
}

int stack_build(struct kernel *k, struct loaded *ld, const struct exec_request *req, const struct exec_args *args, uint64_t *sp)
{
    size_t argc = args->nr_prefix + args->argv.count, envc = req->envp.count, n = 0, strings;
    size_t words = 1 + argc + 1 + envc + 1 + ARRAY_SIZE(ld->layout.auxv);
    uint64_t prefix_addr[ARRAY_SIZE(args->prefix)], argv_addr, env_addr, random_addr, platform_addr, execfn, *table, len;
    struct writer w = {.mm = ld->mm, .sp = ld->plan.stack_top - sizeof(uint64_t)};
    char random[16];
    int r;

    strings = args->argv.len + req->envp.len + prefix_bytes(args) + strlen(req->filename) + 1;
    len = (strings + words * sizeof(uint64_t) + 4 * GUEST_PAGE_SIZE + INITIAL_STACK) & GUEST_PAGE_MASK;
    if (len > req->stack_limit && strings + words * sizeof(uint64_t) > req->stack_limit / 4 * 3)
        return -E2BIG;
    r = mm_map_stack(ld->mm, &ld->limits, ld->plan.stack_top, len, ld->exec_stack);
    if (r)
        return r;
    table = calloc(words, sizeof(*table));
    if (!table)
        return -ENOMEM;

    execfn = push_string(&w, req->filename);
    env_addr = push(&w, req->envp.data, req->envp.len);
    ld->layout.env_start = env_addr;
    ld->layout.env_end = env_addr + req->envp.len;
    argv_addr = push(&w, args->argv.data, args->argv.len);
    ld->layout.arg_end = argv_addr + args->argv.len;
    for (size_t i = args->nr_prefix; i-- > 0;)
        prefix_addr[i] = push_string(&w, args->prefix[i]);
    ld->layout.arg_start = w.sp;
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        w.err = -EAGAIN;
    platform_addr = push_string(&w, "x86_64");
    w.sp &= ~15ULL;
    random_addr = push(&w, random, sizeof(random));

    ld->layout.nr_auxv = fill_auxv(k, ld, req, ld->layout.auxv, random_addr, platform_addr, execfn);
    table[n++] = argc;
    for (size_t i = 0; i < args->nr_prefix; i++)
        table[n++] = prefix_addr[i];
    n = list_strings(table, n, &args->argv, argv_addr) + 1;
    n = list_strings(table, n, &req->envp, env_addr) + 1;
    memcpy(&table[n], ld->layout.auxv, ld->layout.nr_auxv * sizeof(uint64_t));
    n += ld->layout.nr_auxv;
    /* The stack pointer is 16-byte aligned where argc lies. */
    w.sp -= n * sizeof(uint64_t);
    w.sp &= ~15ULL;
    if (!w.err)
        w.err = mm_copy_out(ld->mm, guest_addr_of(w.sp), table, n * sizeof(uint64_t));
    free(table);
    ld->layout.start_stack = w.sp;
    *sp = w.sp;
    return w.err == -EFAULT ? -E2BIG : w.err;
}
