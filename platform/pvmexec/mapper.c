/*
 * Talking to a stub's mapper thread, through its commands page.
 *
 * The sentry lists operations in the page, changes the sequence number and wakes the mapper; the mapper carries them out and
 * writes to the page's file how it went. The page is mapped read-only in the stub, and only the mapper can make the write, so
 * a report can be believed: see filter.c.
 *
 * The mapper is kept on the CPU of whoever talks to it, where handing over costs least; the sentry yields that CPU to it a few
 * times before it goes to sleep.
 */
#include "lib/log.h"
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define YIELDS      1
#define CHECK_MS    200
#define PATIENCE_MS 20000 /* a mapper that takes longer than that, on a host so busy, is as good as dead */

static unsigned char *commands_of(const struct stub_as *as)
{
    return arena_ptr(&container_of(as->base.p, struct stub_platform, base)->arena, as->proc.commands);
}

static atomic_uint *word(unsigned char *commands, unsigned int off)
{
    return (atomic_uint *)(commands + off);
}

void mapper_init_commands(const struct arena *a, uint64_t off)
{
    unsigned char *commands = arena_ptr(a, off);
    int32_t fd = a->fd;

    memcpy(commands + COMMANDS_FILE, &fd, sizeof(fd));
    memcpy(commands + COMMANDS_OFFSET, &off, sizeof(off));
}

void mapper_forget(const struct arena *a, uint64_t off)
{
    memset((unsigned char *)arena_ptr(a, off) + COMMANDS_OPS, 0, (size_t)OPS_MAX * OP_SIZE);
}

static bool stub_is_dead(struct stub_as *as)
{
    siginfo_t si = {0};

    return waitid(P_PID, (id_t)as->proc.pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || si.si_pid != 0;
}

static int await_report(struct stub_as *as, unsigned char *commands) REQUIRES(as->lock)
{
    const struct timespec timeout = {.tv_nsec = CHECK_MS * 1000000L};
    atomic_uint *report = word(commands, COMMANDS_REPORT);
    int r = 0;

    for (int i = 0; i < YIELDS; i++) {
        if (atomic_load(report))
            return 0;
        sched_yield();
    }
    atomic_store(word(commands, COMMANDS_ASLEEP), 1);
    for (int waited = 0; atomic_load(report) == 0;) {
        if (syscall(SYS_futex, report, FUTEX_WAIT, 0, &timeout, NULL, 0) == 0 || errno != ETIMEDOUT)
            continue;
        waited += CHECK_MS;
        if (stub_is_dead(as) || waited >= PATIENCE_MS) {
            r = -ESRCH;
            break;
        }
    }
    atomic_store_explicit(word(commands, COMMANDS_ASLEEP), 0, memory_order_relaxed);
    return r;
}

static void bring_mapper(struct stub_as *as) REQUIRES(as->lock)
{
    int cpu = sched_getcpu();
    cpu_set_t set;

    if (cpu == as->proc.mapper_cpu || cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(as->proc.pid, sizeof(set), &set) == 0)
        as->proc.mapper_cpu = cpu;
}

int mapper_run(struct stub_as *as, const struct mapper_op *ops, size_t n, int64_t *last)
{
    unsigned char *commands = commands_of(as);
    uint64_t start = __rdtsc();
    int32_t result;
    int r;

    if (atomic_load_explicit(&as->dead, memory_order_relaxed))
        return -ESRCH;
    for (size_t i = 0; i < n; i++)
        memcpy(commands + COMMANDS_OPS + i * OP_SIZE, &ops[i], sizeof(ops[i]));
    atomic_store_explicit(word(commands, COMMANDS_COUNT), (unsigned int)n, memory_order_relaxed);
    atomic_store_explicit(word(commands, COMMANDS_RESULT), 0, memory_order_relaxed);
    atomic_store_explicit(word(commands, COMMANDS_REPORT), 0, memory_order_relaxed);
    bring_mapper(as);
    atomic_fetch_add(word(commands, COMMANDS_SEQUENCE), 1);
    syscall(SYS_futex, commands + COMMANDS_SEQUENCE, FUTEX_WAKE, 1, NULL, NULL, 0);
    r = await_report(as, commands);
    if (r) {
        stub_as_kill(as);
        return r;
    }
    as->mapper_ticks += __rdtsc() - start;
    memcpy(&result, commands + COMMANDS_RESULT, sizeof(result));
    *last = result;
    return (int)atomic_load(word(commands, COMMANDS_REPORT)) - 1;
}
