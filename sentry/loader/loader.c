/*
 * execve's middle part: scripts are resolved to their interpreter, the program and its ELF interpreter are parsed, then mapped
 * into a new address space, and the stack is built. The caller's address space is not touched, so every error leaves it as it
 * was.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/loader/loader_internal.h"
#include "sentry/loader/script.h"
#include "sentry/loader/vdso.h"
#include "vfs/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_SCRIPT_DEPTH 5
#define HEAD_BYTES       4096

/* Everything that a load holds until it succeeds or fails. */
struct load {
    struct kernel *k;
    const struct exec_request *req;
    struct file *file;   /* the program: the request's, or a script's interpreter; referenced */
    struct file *interp; /* the ELF interpreter; referenced, or NULL */
    struct exec_args args;
    struct script_line script[MAX_SCRIPT_DEPTH];
    int depth;
    struct elf_image program, interpreter;
    char head[HEAD_BYTES];
    struct loaded ld;
};

struct file_source {
    struct file *file;
    const struct vfs_caller *caller;
};

static ssize_t read_file(void *arg, void *buf, size_t n, uint64_t off)
{
    struct file_source *s = arg;
    size_t done = 0;

    while (done < n) {
        loff_t pos = (loff_t)(off + done);
        ssize_t r = file_read_host(s->file, s->caller, (char *)buf + done, n - done, &pos);

        if (r < 0)
            return r;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

/* Opens an interpreter for execution. */
static int open_exec(struct load *l, const char *name, struct file **out)
{
    struct path p;
    int r = vfs_lookup(l->req->caller, NULL, name, LOOKUP_FOLLOW, 0, &p);

    if (r)
        return r;
    r = vfs_open_exec(l->req->caller, &p, out);
    path_put(&p);
    return r;
}

/* Resolves `#!` lines until an ELF file is found, whose first bytes are then in l->head. */
static int resolve_scripts(struct load *l, size_t *head_len)
{
    const char *name = l->req->filename;

    for (;;) {
        struct file_source s = {l->file, l->req->caller};
        ssize_t n = read_file(&s, l->head, sizeof(l->head), 0);
        struct script_line *line;
        struct file *next;
        size_t at;
        int r;

        if (n < 0)
            return (int)n;
        *head_len = (size_t)n;
        if (n < 2 || l->head[0] != '#' || l->head[1] != '!')
            return 0;
        if (l->depth == MAX_SCRIPT_DEPTH)
            return -ELOOP;
        line = &l->script[l->depth++];
        r = script_parse(l->head, (size_t)n, line);
        if (r)
            return r;
        r = open_exec(l, line->interp, &next);
        if (r)
            return r;
        file_put(l->file);
        l->file = next;
        /* The new argv: interpreter, its argument, the script's name, and what was there without its first. */
        at = line->arg[0] ? 3 : 2;
        if (l->args.nr_prefix == 0) {
            size_t first = l->args.argv.count ? strnlen(l->args.argv.data, l->args.argv.len) + 1 : 0;

            if (l->args.argv.count) {
                l->args.argv.data += first;
                l->args.argv.len -= first;
                l->args.argv.count--;
            }
        } else {
            /* The first of the prefix was this script's own argv[0]. */
            memmove(&l->args.prefix[0], &l->args.prefix[1], (--l->args.nr_prefix) * sizeof(l->args.prefix[0]));
        }
        memmove(&l->args.prefix[at], &l->args.prefix[0], l->args.nr_prefix * sizeof(l->args.prefix[0]));
        l->args.nr_prefix += at;
        l->args.prefix[0] = line->interp;
        if (line->arg[0])
            l->args.prefix[1] = line->arg;
        l->args.prefix[at - 1] = name;
        name = line->interp;
    }
}

static int parse_program(struct load *l, size_t head_len)
{
    struct file_source s = {l->file, l->req->caller};
    struct elf_source src = {read_file, &s};
    ssize_t n;
    int r = elf_parse(&src, l->head, head_len, &l->program);

    if (r || !l->program.interp[0])
        return r;
    r = open_exec(l, l->program.interp, &l->interp);
    if (r)
        return r;
    s.file = l->interp;
    n = read_file(&s, l->head, sizeof(l->head), 0);
    if (n < 0)
        return (int)n;
    r = elf_parse(&src, l->head, (size_t)n, &l->interpreter);
    /* A bad interpreter is a bad library, not a file in another format. */
    return r == -ENOEXEC ? -ELIBBAD : r;
}

/* Picks where a position-independent image goes. */
static int choose_bias(struct loaded *ld, const struct elf_image *img, uint64_t base, uint64_t *bias)
{
    uint64_t len = img->max_vaddr - img->min_vaddr;

    *bias = 0;
    if (!img->position_independent)
        return 0;
    if (!base) {
        base = mm_find_free(ld->mm, len + img->align - ELF_PAGE);
        if (!base)
            return -ENOMEM;
        base += img->align - ELF_PAGE;
    }
    *bias = (base & ~(img->align - 1)) - img->min_vaddr;
    return 0;
}

static int map_vdso(struct load *l)
{
    const struct vdso_pages *p = vdso_pages(l->k);
    uint64_t at = mm_find_free(l->ld.mm, p->data_len + p->text_len);
    int64_t r;

    if (!at)
        return -ENOMEM;
    r = mm_map_special(l->ld.mm, at, p->data_len, PROT_READ, p->memfile_off, "[vvar]");
    if (r >= 0)
        r = mm_map_special(l->ld.mm, at + p->data_len, p->text_len, PROT_READ | PROT_EXEC, p->memfile_off + p->data_len,
                           "[vdso]");
    if (r < 0)
        return (int)r;
    l->ld.vdso = l->ld.layout.vdso = at + p->data_len;
    return 0;
}

static int map_all(struct load *l)
{
    struct loaded *ld = &l->ld;
    uint64_t bias, interp_bias, brk;
    int r;

    r = choose_bias(ld, &l->program, l->interp ? ld->plan.pie_base : 0, &bias);
    if (r == 0)
        r = elf_map(ld, l->file, &l->program, bias, &brk);
    if (r)
        return r;
    ld->entry = ld->start_ip = l->program.entry + bias;
    ld->phdr = l->program.phdr_vaddr ? l->program.phdr_vaddr + bias : 0;
    ld->phnum = l->program.phnum;
    ld->exec_stack = l->program.exec_stack;
    /* A position-independent program without interpreter (static PIE, ld.so itself) gets its heap where programs usually are.
     */
    if (l->program.position_independent && !l->interp)
        brk = ld->plan.pie_base;
    ld->layout.start_brk = ld->layout.brk = ((brk + ELF_PAGE - 1) & ~(ELF_PAGE - 1)) + ld->plan.brk_gap;
    if (l->interp) {
        r = choose_bias(ld, &l->interpreter, 0, &interp_bias);
        if (r == 0)
            r = elf_map(ld, l->interp, &l->interpreter, interp_bias, NULL);
        if (r)
            return r;
        ld->interp_base = interp_bias + l->interpreter.min_vaddr;
        ld->start_ip = l->interpreter.entry + interp_bias;
    }
    return map_vdso(l);
}

static void fill_result(struct load *l, uint64_t sp, struct exec_result *out)
{
    const char *base = strrchr(l->req->filename, '/');

    memset(out, 0, sizeof(*out));
    out->mm = l->ld.mm;
    out->regs.rip = l->ld.start_ip;
    out->regs.rsp = sp;
    out->regs.rflags = 0x202; /* interrupts on, and the bit that is always set */
    out->exe = file_get(l->file);
    strncpy(out->comm, base ? base + 1 : l->req->filename, sizeof(out->comm) - 1);
}

static int load(struct load *l, struct exec_result *out)
{
    struct mm_limits none = {.as = UINT64_MAX, .data = UINT64_MAX, .stack = l->req->stack_limit, .memlock = UINT64_MAX};
    size_t head_len = 0;
    uint64_t sp;
    int r;

    r = resolve_scripts(l, &head_len);
    if (r == 0)
        r = parse_program(l, head_len);
    if (r == 0)
        r = mm_create(l->k->mm_shared, &l->ld.mm);
    if (r)
        return r;
    l->ld.limits = none;
    mm_plan_exec(l->ld.mm, l->req->stack_limit, !l->req->no_aslr, &l->ld.plan);
    r = map_all(l);
    if (r == 0)
        r = stack_build(l->k, &l->ld, l->req, &l->args, &sp);
    if (r == 0)
        r = mm_set_exe_file(l->ld.mm, l->file);
    if (r == 0) {
        mm_set_layout(l->ld.mm, &l->ld.layout);
        r = mm_finish_load(l->ld.mm, l->ld.start_ip, sp);
    }
    if (r) {
        mm_put(l->ld.mm);
        return r;
    }
    fill_result(l, sp, out);
    return 0;
}

int loader_load(struct kernel *k, const struct exec_request *req, struct exec_result *out)
{
    /* Two parsed images and a page of file: too large for a task's small stack. */
    struct load *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->k = k;
    l->req = req;
    l->file = file_get(req->file);
    l->args.argv = req->argv;
    r = load(l, out);
    file_put(l->file);
    if (l->interp)
        file_put(l->interp);
    free(l);
    return r;
}
