/* /proc/PID/status. Lines, order and widths are those of Linux 6.1's fs/proc/array.c, because programs parse them. */
#include "sentry/fs/proc/proc.h"

#include "sentry/kernel/session.h"
#include "sentry/mm/mm.h"
#include "vfs/fdtable.h"
#include "vfs/fs_struct.h"

#include <errno.h>
#include <inttypes.h>

static const char *state_name(struct task *t)
{
    switch (proc_state_letter(t)) {
    case 'R':
        return "R (running)";
    case 'S':
        return "S (sleeping)";
    case 'T':
        return "T (stopped)";
    case 'Z':
        return "Z (zombie)";
    default:
        return "X (dead)";
    }
}

static void show_identity(struct seq *s, struct task *t)
{
    char comm[TASK_COMM_LEN];
    struct fs_struct *fs = task_get_fs(t);
    struct tgroup *tg = t->tg;
    pid_t ppid;

    proc_comm(t, comm);
    mutex_lock(&t->k->tasks_lock);
    ppid = tg->parent ? tg->parent->tgid : 0;
    mutex_unlock(&t->k->tasks_lock);
    seq_puts(s, "Name:\t");
    seq_escape(s, comm, "\n\\");
    seq_putc(s, '\n');
    if (fs) {
        seq_printf(s, "Umask:\t%#04o\n", fs_umask(fs));
        fs_struct_put(fs);
    }
    seq_printf(s, "State:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", state_name(t), tg->tgid, t->tid,
               ppid);
}

static void show_owner(struct seq *s, struct task *t, const struct cred *cred)
{
    struct fdtable *files = task_get_files(t);
    int slots = 0;

    seq_printf(s, "Uid:\t%u\t%u\t%u\t%u\n", cred->uid, cred->euid, cred->suid, cred->fsuid);
    seq_printf(s, "Gid:\t%u\t%u\t%u\t%u\n", cred->gid, cred->egid, cred->sgid, cred->fsgid);
    if (files) {
        /* The table's size as Linux would have it: a power of two, 64 at least. */
        for (int fd = fd_next_open(files, 0); fd >= 0; fd = fd_next_open(files, fd + 1))
            while (slots <= fd)
                slots = slots ? slots * 2 : 64;
        fdtable_put(files, NULL);
    }
    seq_printf(s, "FDSize:\t%d\nGroups:\t", slots ? slots : (files ? 64 : 0));
    for (size_t i = 0; i < cred->nr_groups; i++)
        seq_printf(s, "%u ", cred->groups[i]);
    seq_putc(s, '\n');
}

static void show_numbers(struct seq *s, struct task *t)
{
    pid_t pgid, sid;

    mutex_lock(&t->k->tasks_lock);
    pgid = t->tg->pgrp ? t->tg->pgrp->pgid : 0;
    sid = t->tg->session ? t->tg->session->sid : 0;
    mutex_unlock(&t->k->tasks_lock);
    seq_printf(s, "NStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n", t->tg->tgid, t->tid, pgid, sid);
}

static void show_kb(struct seq *s, const char *name, uint64_t bytes)
{
    seq_printf(s, "%s:\t%8" PRIu64 " kB\n", name, bytes / 1024);
}

static void show_memory(struct seq *s, struct mm *mm)
{
    struct mm_stats st;

    mm_get_stats(mm, &st);
    show_kb(s, "VmPeak", st.vm_peak > st.vm_size ? st.vm_peak : st.vm_size);
    show_kb(s, "VmSize", st.vm_size);
    show_kb(s, "VmLck", st.locked);
    show_kb(s, "VmPin", 0);
    show_kb(s, "VmHWM", st.rss_peak);
    show_kb(s, "VmRSS", st.rss_anon + st.rss_file + st.rss_shmem);
    show_kb(s, "RssAnon", st.rss_anon);
    show_kb(s, "RssFile", st.rss_file);
    show_kb(s, "RssShmem", st.rss_shmem);
    show_kb(s, "VmData", st.data);
    show_kb(s, "VmStk", st.stack);
    show_kb(s, "VmExe", st.text);
    show_kb(s, "VmLib", 0);
    show_kb(s, "VmPTE", st.vm_size / 512);
    show_kb(s, "VmSwap", 0);
    show_kb(s, "HugetlbPages", 0);
    seq_puts(s, "CoreDumping:\t0\nTHP_enabled:\t1\n");
}

static void show_signals(struct seq *s, struct task *t)
{
    struct proc_signals sig;

    proc_signals(t, &sig);
    seq_printf(s, "SigQ:\t%u/%" PRIu64 "\n", sig.queued, task_rlimit(t, RLIMIT_SIGPENDING));
    seq_printf(s, "SigPnd:\t%016" PRIx64 "\nShdPnd:\t%016" PRIx64 "\n", sig.pending, sig.shared_pending);
    seq_printf(s, "SigBlk:\t%016" PRIx64 "\nSigIgn:\t%016" PRIx64 "\nSigCgt:\t%016" PRIx64 "\n", sig.blocked, sig.ignored,
               sig.caught);
}

static void show_rights(struct seq *s, struct task *t, const struct cred *cred)
{
    seq_printf(s, "CapInh:\t%016" PRIx64 "\nCapPrm:\t%016" PRIx64 "\nCapEff:\t%016" PRIx64 "\n", cred->cap_inheritable,
               cred->cap_permitted, cred->cap_effective);
    seq_printf(s, "CapBnd:\t%016" PRIx64 "\nCapAmb:\t%016" PRIx64 "\nNoNewPrivs:\t%d\n", cred->cap_bounding, cred->cap_ambient,
               cred->no_new_privs);
    seq_printf(s, "Seccomp:\t%d\nSeccomp_filters:\t%d\n", t->seccomp_mode, t->seccomp_mode == 2);
    seq_puts(s, "Speculation_Store_Bypass:\tthread vulnerable\nSpeculationIndirectBranch:\tconditional enabled\n");
}

static void show_cpus(struct seq *s, struct task *t)
{
    unsigned int nr = t->k->nr_cpus, first = 0;
    bool comma = false;

    seq_puts(s, "Cpus_allowed:\t");
    for (int word = ((int)nr - 1) / 32; word >= 0; word--) {
        uint32_t mask = t->cpu_affinity[word / 2] >> (word % 2 * 32);
        seq_printf(s, word == ((int)nr - 1) / 32 ? "%x" : ",%08x", mask);
    }
    seq_puts(s, "\nCpus_allowed_list:\t");
    for (unsigned int cpu = 0; cpu <= nr && cpu < 1024; cpu++) {
        bool in = cpu < nr && (t->cpu_affinity[cpu / 64] >> cpu % 64 & 1);
        bool before = cpu > 0 && (t->cpu_affinity[(cpu - 1) / 64] >> (cpu - 1) % 64 & 1);
        if (in && !before)
            first = cpu;
        if (!in && before) {
            seq_printf(s, first == cpu - 1 ? "%s%u" : "%s%u-%u", comma ? "," : "", first, cpu - 1);
            comma = true;
        }
    }
    seq_puts(s, "\nMems_allowed:\t1\nMems_allowed_list:\t0\n");
}

int proc_pid_status(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct task *t = proc_task(n);
    unsigned int nr_threads;
    struct cred *cred;
    struct mm *mm;

    if (!t)
        return -ESRCH;
    cred = task_get_cred(t);
    if (!cred) {
        task_put(t);
        return -ESRCH;
    }
    show_identity(s, t);
    show_owner(s, t, cred);
    show_numbers(s, t);
    mm = task_get_mm(t);
    if (mm) {
        show_memory(s, mm);
        mm_put(mm);
    }
    mutex_lock(&t->k->tasks_lock);
    nr_threads = t->tg->nr_threads;
    mutex_unlock(&t->k->tasks_lock);
    seq_printf(s, "Threads:\t%u\n", nr_threads);
    show_signals(s, t);
    show_rights(s, t, cred);
    show_cpus(s, t);
    seq_printf(s, "voluntary_ctxt_switches:\t%llu\nnonvoluntary_ctxt_switches:\t%llu\n",
               (unsigned long long)t->nr_voluntary_switches, (unsigned long long)t->nr_involuntary_switches);
    cred_put(cred);
    task_put(t);
    return 0;
}
