/*
 * execve(2).
 *
 * Everything that can fail is done while the old program is still whole: strings fetched, credentials computed, the new address
 * space built. Then the other threads are made to die, and the caller becomes the leader: from there on there is no way back.
 */
#include "sentry/kernel/exec.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/rseq.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/kernel/usage.h"
#include "sentry/mm/mm.h"
#include "vfs/inode.h"

#include <errno.h>
#include <linux/personality.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARG_STRLEN (32 * GUEST_PAGE_SIZE)
#define ARG_MAX_FLOOR  (128 * 1024)
#define ARG_MAX_CEIL   (6 * 1024 * 1024)

int string_block_add(struct string_block *b, const char *s, size_t len)
{
    if (b->cap - b->len < len + 1) {
        size_t cap = b->cap ? b->cap : 4096;
        while (cap - b->len < len + 1)
            cap *= 2;
        char *grown = realloc(b->data, cap);
        if (!grown)
            return -ENOMEM;
        b->data = grown;
        b->cap = cap;
    }
    memcpy(b->data + b->len, s, len);
    b->data[b->len + len] = 0;
    b->len += len + 1;
    b->count++;
    return 0;
}

void string_block_fini(struct string_block *b)
{
    free(b->data);
    *b = (struct string_block){0};
}

struct exec_strings string_block_view(const struct string_block *b)
{
    return (struct exec_strings){.data = b->data ? b->data : "", .len = b->len, .count = b->count};
}

/* Fetches one vector. `*budget` is what strings and pointers may still take. `scratch` has MAX_ARG_STRLEN bytes. */
static int copy_vector(struct task *t, guest_addr at, struct string_block *b, size_t *budget, char *scratch)
{
    uint64_t ptrs[64];
    size_t have = 0, next = 0;
    ssize_t n;
    int r;

    for (;;) {
        if (next == have) {
            /* Up to the end of the page, which is the least that a readable first pointer promises. */
            uint64_t room = (GUEST_PAGE_SIZE - (at.a & (GUEST_PAGE_SIZE - 1))) / sizeof(ptrs[0]);
            have = room == 0 ? 1 : room < ARRAY_SIZE(ptrs) ? room : ARRAY_SIZE(ptrs);
            r = copy_in(t, ptrs, at, have * sizeof(ptrs[0]));
            if (r)
                return r;
            at = guest_add(at, have * sizeof(ptrs[0]));
            next = 0;
        }
        if (!ptrs[next])
            return 0;
        n = copy_str_in(t, scratch, guest_addr_of(ptrs[next++]), MAX_ARG_STRLEN);
        if (n == -ENAMETOOLONG)
            return -E2BIG;
        if (n < 0)
            return (int)n;
        if (*budget < (size_t)n + 1 + sizeof(uint64_t))
            return -E2BIG;
        *budget -= (size_t)n + 1 + sizeof(uint64_t);
        r = string_block_add(b, scratch, (size_t)n);
        if (r)
            return r;
        if (atomic_load(&t->fatal))
            return -ERESTARTNOHAND;
    }
}

int exec_copy_strings(struct task *t, guest_addr argv, guest_addr envp, struct string_block *out_argv,
                      struct string_block *out_envp)
{
    uint64_t budget = task_rlimit(t, RLIMIT_STACK) / 4;
    size_t left;
    char *scratch;
    int r = 0;

    budget = budget > ARG_MAX_CEIL ? ARG_MAX_CEIL : budget < ARG_MAX_FLOOR ? ARG_MAX_FLOOR : budget;
    left = (size_t)budget;
    scratch = malloc(MAX_ARG_STRLEN);
    if (!scratch)
        return -ENOMEM;
    if (argv.a)
        r = copy_vector(t, argv, out_argv, &left, scratch);
    if (!r && out_argv->count == 0) /* since 5.18 there is always an argv[0] */
        r = string_block_add(out_argv, "", 0);
    if (!r && envp.a)
        r = copy_vector(t, envp, out_envp, &left, scratch);
    free(scratch);
    return r;
}

/* Scripts give nobody privileges: what counts is the interpreter, and that one's are not looked at. */
static bool is_script(struct task *t, struct file *file)
{
    char magic[2] = {0};
    loff_t pos = 0;

    return file_read_host(file, &t->caller, magic, sizeof(magic), &pos) == 2 && magic[0] == '#' && magic[1] == '!';
}

static int new_cred(struct task *t, struct file *file, struct cred **out, bool *secure)
{
    struct file plain;
    struct inode inode;

    if (!is_script(t, file))
        return exec_cred(t->cred, file, out, secure);
    inode = (struct inode){.mode = S_IFREG | 0755};
    plain = (struct file){.inode = &inode};
    return exec_cred(t->cred, &plain, out, secure);
}

/* Handlers become the default action; what is ignored stays so. A table shared with another process is left to it. */
static int reset_handlers(struct task *t)
{
    struct tgroup *tg = t->tg;
    struct sighand *old = tg->sighand, *sh = old;

    if (ref_read(&old->ref) > 1) {
        sh = sighand_alloc();
        if (!sh)
            return -ENOMEM;
        mutex_lock(&old->lock);
        memcpy(sh->action, old->action, sizeof(sh->action));
        mutex_unlock(&old->lock);
    }
    mutex_lock(&sh->lock);
    for (int i = 0; i < KERNEL_NSIG; i++) {
        uint64_t handler = sh->action[i].handler == (uint64_t)SIG_IGN ? (uint64_t)SIG_IGN : (uint64_t)SIG_DFL;
        sh->action[i] = (struct ksigaction){.handler = handler};
    }
    mutex_unlock(&sh->lock);
    if (sh == old)
        return 0;
    mutex_lock(&t->k->tasks_lock); /* parents' tables are looked at under it */
    mutex_lock(&tg->siglock);
    tg->sighand = sh;
    mutex_unlock(&tg->siglock);
    mutex_unlock(&t->k->tasks_lock);
    sighand_put(old);
    return 0;
}

static int unshare_files(struct task *t)
{
    struct fdtable *own, *old = t->files;
    int r;

    if (!fdtable_is_shared(old))
        return 0;
    r = fdtable_dup(old, &own);
    if (r)
        return r;
    mutex_lock(&t->tg->siglock);
    t->files = own;
    mutex_unlock(&t->tg->siglock);
    fdtable_put(old, &t->caller);
    return 0;
}

static void swap_mm(struct task *t, struct mm *mm)
{
    struct mm *old = t->mm;

    if (old) {
        futex_task_exec(t);
        usage_note_mm(t);
    }
    mutex_lock(&t->tg->siglock);
    t->mm = mm;
    mutex_unlock(&t->tg->siglock);
    if (old)
        mm_put(old);
    task_vfork_release(t);
}

/* What the new program does not inherit. */
static void forget_old_program(struct task *t, bool gained)
{
    struct tgroup *tg = t->tg;

    t->altstack = (stack_t){.ss_flags = SS_DISABLE};
    t->clear_child_tid = t->set_child_tid = t->robust_list = GUEST_NULL;
    t->robust_list_len = 0;
    t->restart.fn = NULL;
    t->fault.addr = t->fault.trapno = t->fault.error_code = 0;
    t->orig_rax = -1;
    rseq_exec(t);
    tgroup_timers_exec(tg);
    mutex_lock(&tg->siglock);
    tg->dumpable = !gained;
    mutex_unlock(&tg->siglock);
    if (gained) {
        t->pdeath_signal = 0;
        t->personality &= ~(unsigned long)PER_CLEAR_ON_SETID;
    }
}

static int load(struct task *t, struct file *file, const char *filename, const struct string_block *argv,
                const struct string_block *envp, struct cred *cred, bool secure, struct exec_result *res)
{
    const struct exec_request req = {
        .file = file,
        .filename = filename,
        .argv = string_block_view(argv),
        .envp = string_block_view(envp),
        .caller = &t->caller,
        .stack_limit = task_rlimit(t, RLIMIT_STACK),
        .secure = secure,
        .no_aslr = t->personality & ADDR_NO_RANDOMIZE,
    };
    int r;

    /* The auxiliary vector shows the new identity. */
    t->caller.cred = cred;
    r = loader_load(t->k, &req, res);
    t->caller.cred = t->cred;
    return r;
}

static int do_exec(struct task *t, struct file *file, const char *filename, const struct string_block *argv,
                   const struct string_block *envp)
{
    struct exec_result res;
    pid_t old_tid = t->tid;
    struct cred *cred;
    bool secure, gained;
    int r = new_cred(t, file, &cred, &secure);

    if (r)
        return r;
    r = load(t, file, filename, argv, envp, cred, secure, &res);
    if (r) {
        cred_put(cred);
        return r;
    }
    r = unshare_files(t);
    if (!r)
        r = task_exec_alone(t);
    if (r) {
        mm_put(res.mm);
        file_put(res.exe);
        cred_put(cred);
        return r;
    }

    /* The point of no return. */
    gained = cred->euid != t->cred->euid || cred->egid != t->cred->egid || (cred->cap_permitted & ~t->cred->cap_permitted);
    file_put(res.exe);
    swap_mm(t, res.mm);
    t->regs = res.regs;
    forget_old_program(t, gained);
    if (t->ctx)
        task_fp_init(t);
    fdtable_close_on_exec(t->files, &t->caller);
    mutex_lock(&t->tg->siglock);
    memcpy(t->comm, res.comm, sizeof(t->comm));
    mutex_unlock(&t->tg->siglock);
    mutex_lock(&t->k->tasks_lock);
    t->tg->has_execed = true;
    mutex_unlock(&t->k->tasks_lock);
    task_commit_cred(t, cred); /* also tells the platform the new tid */
    if (reset_handlers(t))
        task_request_group_exit(t, SIGKILL);
    ptrace_exec(t, old_tid);
    return 0;
}

int task_exec(struct task *t, struct file *file, const char *filename, const struct string_block *argv,
              const struct string_block *envp)
{
    /* Nobody may be writing to it, nor begin to: -ETXTBSY. The new address space keeps that up while it lives. */
    int r = inode_deny_write(file->inode);

    if (r)
        return r;
    r = do_exec(t, file, filename, argv, envp);
    inode_allow_write(file->inode);
    return r;
}
