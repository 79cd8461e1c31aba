/*
 * platform-bench BACKEND...: nanoseconds per operation of each backend. Run it free and under `taskset -c 0`; both matter.
 *
 * Each figure is the median of several rounds. PLATFORM_BENCH_ONLY selects figures by a part of their names.
 */
#include "tests/platform/harness.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

PROGRAM(prog_count);
PROGRAM(prog_count_plain);
PROGRAM(prog_count_libc);
PROGRAM(prog_getpid);
PROGRAM(prog_touch);

#define ROUNDS 7

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void report(const char *what, double (*measure)(void))
{
    const char *only = getenv("PLATFORM_BENCH_ONLY");
    double t[ROUNDS];

    if (only && !strstr(what, only))
        return;
    for (int i = 0; i < ROUNDS; i++)
        t[i] = measure();
    qsort(t, ROUNDS, sizeof(t[0]), compare);
    printf("  %-44s %9.0f ns  (%.0f-%.0f)\n", what, t[ROUNDS / 2], t[0], t[ROUNDS - 1]);
    fflush(stdout);
}

static double calls(const struct program *prog, int n)
{
    struct guest g;
    double start;

    guest_init(&g, prog);
    for (int i = 0; i < 200; i++)
        guest_run_to_call(&g, 1000);
    start = now_ns();
    for (int i = 0; i < n; i++)
        guest_run(&g);
    start = (now_ns() - start) / n;
    guest_fini(&g);
    return start;
}

static double call_rewritten(void)
{
    return calls(&prog_count, 20000);
}
static double call_libc(void)
{
    return calls(&prog_count_libc, 20000);
}
static double call_plain(void)
{
    return calls(&prog_count_plain, 20000);
}

static double call_answered(void)
{
    struct platform_answers answers = {.pid = 5, .tid = 5};
    struct guest g;
    double start;

    guest_init(&g, &prog_getpid);
    platform_set_answers(g.ctx, &answers);
    g.regs.r15 = 200000;
    start = now_ns();
    for (;;) {
        guest_run(&g);
        if (g.regs.rax == 1000)
            break;
        g.regs.rax = 5;
    }
    start = (now_ns() - start) / 200000;
    guest_fini(&g);
    return start;
}

/* One page at a time: a fault, a map, and the instruction again. */
static double fault_and_map(void)
{
    uint64_t off = mem_alloc(4096);
    struct guest g;
    double start;
    int n = 2000;

    guest_init(&g, &prog_touch);
    g.regs.rsi = 0x10000000;
    start = now_ns();
    for (int i = 0; i < n; i++) {
        guest_run(&g);
        check_eq(g.ev.kind, PLATFORM_EVENT_FAULT);
        map(g.as, g.ev.addr & ~0xfffULL, 4096, PROT_READ | PROT_WRITE, off);
    }
    start = (now_ns() - start) / n;
    guest_fini(&g);
    return start;
}

static double map_unmap(void)
{
    struct guest g;
    double start;
    int n = 2000;

    guest_init(&g, &prog_count);
    guest_run(&g);
    start = now_ns();
    for (int i = 0; i < n; i++) {
        map(g.as, 0x10000000, 4096, PROT_READ, g.data_off);
        unmap(g.as, 0x10000000, 4096);
    }
    start = (now_ns() - start) / n;
    guest_fini(&g);
    return start / 2;
}

static double as_create_destroy(void)
{
    double start = now_ns();
    int n = 200;

    for (int i = 0; i < n; i++) {
        struct platform_as *as;

        check_eq(platform_as_create(test_platform, NULL, NULL, NULL, &as), 0);
        platform_as_destroy(as);
    }
    return (now_ns() - start) / n;
}

static double as_create_run_destroy(void)
{
    struct guest g;
    double start = now_ns();
    int n = 100;

    for (int i = 0; i < n; i++) {
        guest_init(&g, &prog_count);
        guest_run(&g);
        guest_fini(&g);
    }
    return (now_ns() - start) / n;
}

static double context_create_run_destroy(void)
{
    struct guest g, h;
    double start;
    int n = 100;

    guest_init(&g, &prog_count);
    guest_run(&g);
    h = g;
    start = now_ns();
    for (int i = 0; i < n; i++) {
        guest_init_context(&h);
        guest_run(&h);
        platform_context_destroy(h.ctx);
    }
    start = (now_ns() - start) / n;
    guest_fini(&g);
    return start;
}

static double fp_get_and_set(void)
{
    unsigned char *fp = aligned_alloc(64, (platform_fp_size(test_platform) + 63) & ~63UL);
    struct guest g;
    double start;
    int n = 2000;

    guest_init(&g, &prog_count);
    for (int i = 0; i < 100; i++)
        guest_run(&g);
    start = now_ns();
    for (int i = 0; i < n; i++) {
        guest_run(&g);
        check_eq(platform_fp_get(g.ctx, fp), 0);
        check_eq(platform_fp_set(g.ctx, fp), 0);
    }
    start = (now_ns() - start) / n;
    guest_fini(&g);
    free(fp);
    return start;
}

/* Two guest processes that take turns, each blocking in its sentry thread while the other runs: a pipe, more or less. */
struct pinger {
    pthread_t thread;
    atomic_uint *mine, *other;
    int n;
    bool first;
};

static void futex_wait(atomic_uint *f, unsigned int v)
{
    syscall(SYS_futex, f, 128, v, NULL, NULL, 0);
}

static void *ping(void *arg)
{
    struct pinger *p = arg;
    struct guest g;

    guest_init(&g, &prog_count);
    for (int i = 0; i < p->n; i++) {
        /* A "write", and a "read" that blocks. */
        guest_run(&g);
        if (i || p->first) {
            atomic_fetch_add(p->other, 1);
            syscall(SYS_futex, p->other, 129, 1, NULL, NULL, 0);
        }
        guest_run(&g);
        platform_park(g.ctx);
        while (i + p->first < p->n && atomic_load(p->mine) <= (unsigned int)i)
            futex_wait(p->mine, (unsigned int)i);
    }
    guest_fini(&g);
    return NULL;
}

static double ping_pong(void)
{
    static atomic_uint turn[2];
    struct pinger p[2] = {{.mine = &turn[0], .other = &turn[1], .n = 2000, .first = true},
                          {.mine = &turn[1], .other = &turn[0], .n = 2000}};
    double start = now_ns();

    atomic_store(&turn[0], 0);
    atomic_store(&turn[1], 0);
    for (int i = 0; i < 2; i++)
        pthread_create(&p[i].thread, NULL, ping, &p[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(p[i].thread, NULL);
    return (now_ns() - start) / 2000;
}

static void *storm_thread(void *arg)
{
    struct guest *shared = arg, g = *shared;

    guest_init_context(&g);
    for (int i = 0; i < 4000; i++)
        guest_run(&g);
    platform_context_destroy(g.ctx);
    return NULL;
}

static double storm(void)
{
    struct guest g;
    pthread_t t[8];
    double start;

    guest_init(&g, &prog_count);
    start = now_ns();
    for (int i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, storm_thread, &g);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    start = (now_ns() - start) / (8 * 4000);
    guest_fini(&g);
    return start;
}

/* Calls with 100 us of guest work between them: what is left when the work is subtracted. */
PROGRAM(prog_work);
static double call_after_work(void)
{
    struct guest g;
    double start, work;
    int n = 300;

    guest_init(&g, &prog_work);
    g.regs.r15 = 1;
    for (int i = 0; i < 100; i++)
        guest_run(&g);
    g.regs.r15 = 30000000;
    start = now_ns();
    guest_run(&g);
    work = (now_ns() - start) / 300;
    g.regs.r15 = 100000;
    guest_run(&g);
    start = now_ns();
    for (int i = 0; i < n; i++)
        guest_run(&g);
    start = (now_ns() - start) / n;
    guest_fini(&g);
    return start - work;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        pid_t pid = fork();
        struct platform_config config = {.name = argv[i]};
        char why[512];

        if (pid) {
            waitpid(pid, NULL, 0);
            continue;
        }
        test_setup_memory();
        if (platform_create(&config, &test_platform, why, sizeof(why))) {
            fprintf(stderr, "%s\n", why);
            return 1;
        }
        printf("%s\n", platform_name(test_platform));
        report("call, site can be rewritten (mov; syscall)", call_rewritten);
        report("call, site can be rewritten (syscall; cmp)", call_libc);
        report("call, site cannot be rewritten", call_plain);
        report("call answered in the stub", call_answered);
        report("call after 100 us of work, extra time", call_after_work);
        report("fault, map of one page, retry", fault_and_map);
        report("map or unmap of one page", map_unmap);
        report("fp_get and fp_set with a call", fp_get_and_set);
        report("context create, run, destroy", context_create_run_destroy);
        report("address space create, destroy", as_create_destroy);
        report("address space create, 3 maps, run, destroy", as_create_run_destroy);
        report("ping-pong of two processes, round trip", ping_pong);
        report("8 threads of one process, per call", storm);
        platform_destroy(test_platform);
        exit(0);
    }
    return 0;
}
