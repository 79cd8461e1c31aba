/*
 * The guest's own system-call filters: classic BPF programs over struct seccomp_data, checked when they are set and interpreted
 * on each call of a task that has any.
 *
 * A task's filters form a chain from the newest to the oldest, shared by reference with its clones; all are run and the most
 * severe answer counts. The checker admits what Linux's seccomp_check_filter() does: absolute word loads within seccomp_data,
 * arithmetic, scratch memory, forward jumps, constant or accumulator returns. So a program always ends.
 */
#include "sentry/kernel/seccomp.h"

#include "lib/cbpf.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/syscalls/syscalls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define MAX_INSNS_PER_CHAIN 32768 /* as Linux: (1 << 18) / sizeof(struct sock_filter) */

enum { MAX_CACHED_CALLS = 512 };

/* Calls of strict mode. */
enum { NR_READ = 0, NR_WRITE = 1, NR_SIGRETURN = 15, NR_EXIT = 60 };

struct seccomp_filter {
    struct refcount ref;
    struct seccomp_filter *prev; /* older; referenced */
    unsigned int total;          /* instructions in the chain, with Linux's 4 of overhead each */
    unsigned int len;
    /* Calls that the whole chain allows whatever their arguments: most of those that any real filter sees. */
    uint64_t allowed[MAX_CACHED_CALLS / 64];
    struct sock_filter insns[];
};

void seccomp_filter_put(struct seccomp_filter *f)
{
    struct seccomp_filter *prev;

    for (; f && ref_put(&f->ref); f = prev) {
        prev = f->prev;
        free(f);
    }
}

void seccomp_clone(struct task *child, const struct task *parent)
{
    child->seccomp_mode = parent->seccomp_mode;
    child->seccomp = parent->seccomp;
    if (child->seccomp)
        ref_get(&child->seccomp->ref);
}

/* Of classic BPF, without what looks at packets. */
static bool insn_is_valid(const struct sock_filter *f, unsigned int pc, unsigned int len)
{
    if (f->code == (BPF_LD | BPF_W | BPF_ABS))
        return f->k < sizeof(struct seccomp_data) && !(f->k & 3);
    if ((BPF_CLASS(f->code) == BPF_LD && (BPF_MODE(f->code) == BPF_ABS || BPF_MODE(f->code) == BPF_IND)) ||
        (BPF_CLASS(f->code) == BPF_LDX && BPF_MODE(f->code) == BPF_MSH) ||
        (BPF_CLASS(f->code) == BPF_ALU && BPF_OP(f->code) == BPF_MOD))
        return false;
    return cbpf_insn_is_valid(f, pc, len);
}

static bool program_is_valid(const struct sock_filter *insns, unsigned int len)
{
    for (unsigned int pc = 0; pc < len; pc++)
        if (!insn_is_valid(&insns[pc], pc, len))
            return false;
    return BPF_CLASS(insns[len - 1].code) == BPF_RET;
}

/* Whether the program answers ALLOW for a call of this number without a look at anything but the number, as Linux tells. */
static bool allows_always(const struct sock_filter *insns, unsigned int len, uint32_t nr)
{
    uint32_t a = 0;

    for (unsigned int pc = 0; pc < len; pc++) {
        const struct sock_filter *f = &insns[pc];

        switch (f->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (f->k == offsetof(struct seccomp_data, nr))
                a = nr;
            else if (f->k == offsetof(struct seccomp_data, arch))
                a = AUDIT_ARCH_X86_64;
            else
                return false;
            break;
        case BPF_RET | BPF_K:
            return f->k == SECCOMP_RET_ALLOW;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= f->k;
            break;
        case BPF_JMP | BPF_JA:
            pc += f->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
        case BPF_JMP | BPF_JGE | BPF_K:
        case BPF_JMP | BPF_JGT | BPF_K:
        case BPF_JMP | BPF_JSET | BPF_K:
            pc += cbpf_compare(BPF_OP(f->code), a, f->k) ? f->jt : f->jf;
            break;
        default:
            return false;
        }
    }
    return false;
}

static void fill_allowed(struct seccomp_filter *f, const struct seccomp_filter *prev)
{
    memset(f->allowed, 0, sizeof(f->allowed));
    for (uint32_t nr = 0; nr < MAX_CACHED_CALLS; nr++)
        if ((!prev || prev->allowed[nr / 64] >> nr % 64 & 1) && allows_always(f->insns, f->len, nr))
            f->allowed[nr / 64] |= 1ULL << nr % 64;
}

static bool chain_allows(const struct seccomp_filter *f, int64_t nr)
{
    return f && nr >= 0 && nr < MAX_CACHED_CALLS && f->allowed[nr / 64] >> nr % 64 & 1;
}

bool seccomp_heeds_answers(const struct task *t)
{
    static const int answered[] = {SYS_getpid,  SYS_gettid,        SYS_getuid,       SYS_geteuid, SYS_getgid,
                                   SYS_getegid, SYS_clock_gettime, SYS_gettimeofday, SYS_time,    SYS_getcpu};

    if (t->seccomp_mode != SECCOMP_MODE_FILTER)
        return t->seccomp_mode != 0;
    for (size_t i = 0; i < ARRAY_SIZE(answered); i++)
        if (!chain_allows(t->seccomp, answered[i]))
            return true;
    return false;
}

/* Only words at constant offsets pass the check. */
static bool load_word(const void *data, const struct sock_filter *i, uint32_t x, uint32_t *value)
{
    *value = ((const uint32_t *)data)[i->k / 4];
    return true;
}

/* A program that divides by 0 kills, as the kernel's converted one returns 0. */
static uint32_t run_filter(const struct seccomp_filter *f, const struct seccomp_data *data)
{
    return cbpf_run(f->insns, f->len, &(struct cbpf_input){.load = load_word, .data = data, .len = sizeof(*data)});
}

/* Severity grows as the action's signed value falls. */
static uint32_t run_chain(const struct task *t)
{
    const struct guest_regs *r = &t->regs;
    const struct seccomp_data data = {
        .nr = (int)t->orig_rax,
        .arch = AUDIT_ARCH_X86_64,
        .instruction_pointer = r->rip,
        .args = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9},
    };
    uint32_t result = SECCOMP_RET_ALLOW;

    for (const struct seccomp_filter *f = t->seccomp; f; f = f->prev) {
        uint32_t v = run_filter(f, &data);
        if ((int32_t)(v & SECCOMP_RET_ACTION_FULL) < (int32_t)(result & SECCOMP_RET_ACTION_FULL))
            result = v;
    }
    return result;
}

static void kill_by_seccomp(struct task *t, bool whole_process)
{
    if (whole_process)
        task_request_group_exit(t, SIGSYS | 0x80);
    else
        task_request_exit(t, SIGSYS);
}

static void send_sigsys(struct task *t, uint16_t reason)
{
    ksiginfo info;

    siginfo_kernel(&info, SIGSYS, 1 /* SYS_SECCOMP */);
    info.si_call_addr = (void *)t->regs.rip;
    info.si_syscall = (int)t->orig_rax;
    info.si_arch = AUDIT_ARCH_X86_64;
    info.si_errno = reason;
    /* The handler sees the registers as they were at the call. */
    t->regs.rax = (uint64_t)t->orig_rax;
    t->orig_rax = -1;
    signal_force(t, &info);
}

static bool strict_allows(int64_t nr)
{
    return nr == NR_READ || nr == NR_WRITE || nr == NR_SIGRETURN || nr == NR_EXIT;
}

bool seccomp_check(struct task *t, int64_t *result)
{
    uint32_t v;

    *result = -ENOSYS;
    if (t->seccomp_mode == SECCOMP_MODE_STRICT) {
        if (strict_allows(t->orig_rax))
            return true;
        task_request_exit(t, SIGKILL);
        return false;
    }
    if (chain_allows(t->seccomp, t->orig_rax))
        return true;
    v = run_chain(t);
    switch (v & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
        return true;
    case SECCOMP_RET_ERRNO:
        v &= SECCOMP_RET_DATA;
        *result = -(int64_t)(v > 4095 ? 4095 : v);
        return false;
    case SECCOMP_RET_TRAP:
        send_sigsys(t, (uint16_t)(v & SECCOMP_RET_DATA));
        return false;
    case SECCOMP_RET_TRACE: /* the tracer may change or skip the call; without one it fails */
        return ptrace_event_if(t, PTRACE_EVENT_SECCOMP, v & SECCOMP_RET_DATA) && t->orig_rax >= 0 && !atomic_load(&t->fatal);
    case SECCOMP_RET_USER_NOTIF: /* nobody listens */
        return false;
    case SECCOMP_RET_KILL_THREAD:
        kill_by_seccomp(t, t->tg->nr_live == 1);
        return false;
    default:
        kill_by_seccomp(t, true);
        return false;
    }
}

int64_t seccomp_set_strict(struct task *t)
{
    if (t->seccomp_mode && t->seccomp_mode != SECCOMP_MODE_STRICT)
        return -EINVAL;
    t->seccomp_mode = SECCOMP_MODE_STRICT;
    task_set_answers(t);
    return 0;
}

int seccomp_filter_create(const struct sock_filter *insns, size_t len, struct seccomp_filter **out)
{
    struct seccomp_filter *f;

    if (len == 0 || len > BPF_MAXINSNS || !program_is_valid(insns, (unsigned int)len))
        return -EINVAL;
    f = calloc(1, sizeof(*f) + len * sizeof(*insns));
    if (!f)
        return -ENOMEM;
    ref_init(&f->ref);
    f->len = (unsigned int)len;
    f->total = f->len + 4;
    memcpy(f->insns, insns, len * sizeof(*insns));
    fill_allowed(f, NULL);
    *out = f;
    return 0;
}

void seccomp_adopt(struct task *t, struct seccomp_filter *f)
{
    ref_get(&f->ref);
    t->seccomp = f;
    t->seccomp_mode = SECCOMP_MODE_FILTER;
}

static int64_t fetch_filter(struct task *t, guest_addr at, struct seccomp_filter **out)
{
    struct {
        uint16_t len;
        uint16_t pad[3];
        uint64_t filter;
    } prog;
    struct seccomp_filter *f;

    if (copy_in(t, &prog, at, sizeof(prog)))
        return -EFAULT;
    if (prog.len == 0 || prog.len > BPF_MAXINSNS)
        return -EINVAL;
    f = malloc(sizeof(*f) + prog.len * sizeof(f->insns[0]));
    if (!f)
        return -ENOMEM;
    ref_init(&f->ref);
    f->prev = NULL;
    f->len = prog.len;
    if (copy_in(t, f->insns, guest_addr_of(prog.filter), prog.len * sizeof(f->insns[0]))) {
        free(f);
        return -EFAULT;
    }
    if (!program_is_valid(f->insns, f->len)) {
        free(f);
        return -EINVAL;
    }
    *out = f;
    return 0;
}

static bool is_ancestor(const struct seccomp_filter *ancestor, const struct seccomp_filter *f)
{
    if (!ancestor)
        return true;
    for (; f; f = f->prev)
        if (f == ancestor)
            return true;
    return false;
}

/*
 * SECCOMP_FILTER_FLAG_TSYNC. The tid of a thread whose own chain is not the beginning of ours, or 0. A chain is changed by its
 * thread alone; a thread that sets a filter at this very moment is as if it had done so a moment later.
 */
static pid_t find_diverged(struct task *t)
{
    struct task *u;
    pid_t tid = 0;

    mutex_lock(&t->tg->siglock);
    list_for_each_entry(u, &t->tg->threads, thread_node) {
        if (u != t && !u->exiting && (u->seccomp_mode == SECCOMP_MODE_STRICT || !is_ancestor(u->seccomp, t->seccomp)))
            tid = u->tid;
    }
    mutex_unlock(&t->tg->siglock);
    return tid;
}

/* Every other thread takes our chain before it is in the guest again. */
static void push_chain(struct task *t)
{
    struct seccomp_filter *old;
    struct task *u;

    mutex_lock(&t->tg->siglock);
    list_for_each_entry(u, &t->tg->threads, thread_node) {
        if (u == t || u->exiting)
            continue;
        ref_get(&t->seccomp->ref);
        old = atomic_exchange(&u->seccomp_sync, t->seccomp);
        seccomp_filter_put(old);
        if (u->ctx && (atomic_load(&u->guest_seq) & 1))
            platform_interrupt(u->ctx);
    }
    mutex_unlock(&t->tg->siglock);
}

void seccomp_take_sync(struct task *t)
{
    struct seccomp_filter *chain = atomic_exchange(&t->seccomp_sync, NULL);
    struct cred *c;

    if (!chain)
        return;
    seccomp_filter_put(t->seccomp);
    t->seccomp = chain;
    t->seccomp_mode = SECCOMP_MODE_FILTER;
    if (!t->cred->no_new_privs && (c = cred_dup(t->cred))) {
        c->no_new_privs = true;
        task_commit_cred(t, c);
    }
    task_set_answers(t);
}

int64_t seccomp_set_filter(struct task *t, unsigned int flags, guest_addr prog)
{
    struct seccomp_filter *f = NULL;
    int64_t r;

    if (!t->cred->no_new_privs && !cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EACCES;
    r = fetch_filter(t, prog, &f);
    if (r)
        return r;
    if (t->seccomp_mode == SECCOMP_MODE_STRICT) {
        free(f);
        return -EINVAL;
    }
    f->total = f->len + 4 + (t->seccomp ? t->seccomp->total : 0);
    if (f->total > MAX_INSNS_PER_CHAIN) {
        free(f);
        return -ENOMEM;
    }
    if (flags & SECCOMP_FILTER_FLAG_TSYNC) {
        r = find_diverged(t);
        if (r) {
            free(f);
            return flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH ? -ESRCH : r;
        }
    }
    fill_allowed(f, t->seccomp);
    f->prev = t->seccomp; /* takes over the reference */
    t->seccomp = f;
    t->seccomp_mode = SECCOMP_MODE_FILTER;
    task_set_answers(t);
    if (flags & SECCOMP_FILTER_FLAG_TSYNC)
        push_chain(t);
    return 0;
}
