/* The vDSO: found in auxv, a proper ELF image, clocks that agree with the system calls and never go back. */
#include "tests/guest/guest_test.h"

#include <elf.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

typedef int clock_gettime_fn(clockid_t clock, struct timespec *ts);
typedef int gettimeofday_fn(struct timeval *tv, struct timezone *tz);
typedef time_t time_fn(time_t *t);
typedef int getcpu_fn(unsigned int *cpu, unsigned int *node, void *unused);

/* Looks a symbol of version LINUX_2.6 up, as libc does. */
static void *vdso_symbol(const char *name)
{
    const char *base = (const char *)getauxval(AT_SYSINFO_EHDR);
    const Elf64_Ehdr *eh = (const void *)base;
    const Elf64_Phdr *ph = (const void *)(base + eh->e_phoff);
    const Elf64_Dyn *dyn = NULL;
    const Elf64_Sym *sym = NULL;
    const char *str = NULL;
    const uint32_t *hash = NULL;
    long bias = 0;

    for (int i = 0; i < eh->e_phnum; i++) {
        if (ph[i].p_type == PT_LOAD)
            bias = (long)base + (long)ph[i].p_offset - (long)ph[i].p_vaddr;
        if (ph[i].p_type == PT_DYNAMIC)
            dyn = (const void *)(base + ph[i].p_offset);
    }
    for (; dyn && dyn->d_tag != DT_NULL; dyn++) {
        const void *p = (const void *)(dyn->d_un.d_ptr + (unsigned long)bias);
        if (dyn->d_tag == DT_SYMTAB)
            sym = p;
        else if (dyn->d_tag == DT_STRTAB)
            str = p;
        else if (dyn->d_tag == DT_HASH)
            hash = p;
    }
    if (!sym || !str || !hash)
        return NULL;
    for (uint32_t i = 0; i < hash[1]; i++)
        if (sym[i].st_shndx && strcmp(str + sym[i].st_name, name) == 0)
            return (void *)(sym[i].st_value + (unsigned long)bias);
    return NULL;
}

static int64_t ns_of(struct timespec ts)
{
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int64_t by_call(clockid_t clock)
{
    struct timespec ts;

    syscall(SYS_clock_gettime, clock, &ts);
    return ns_of(ts);
}

TEST(is_an_elf_image)
{
    const unsigned char *base = (const void *)getauxval(AT_SYSINFO_EHDR);

    CHECK(base != NULL);
    CHECK_EQ((unsigned long)base % 4096, 0);
    CHECK(memcmp(base, "\177ELF", 4) == 0);
    CHECK(vdso_symbol("__vdso_clock_gettime") != NULL);
    CHECK(vdso_symbol("__vdso_gettimeofday") != NULL);
    CHECK(vdso_symbol("__vdso_time") != NULL);
    CHECK(vdso_symbol("__vdso_getcpu") != NULL);
    CHECK(vdso_symbol("__vdso_clock_getres") != NULL);
}

TEST(agrees_with_the_system_calls)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_TAI};
    clock_gettime_fn *get = vdso_symbol("__vdso_clock_gettime");

    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
            struct timespec ts;
            int64_t before = by_call(clocks[i]), now, after;
            CHECK_EQ(get(clocks[i], &ts), 0);
            now = ns_of(ts);
            after = by_call(clocks[i]);
            CHECK(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
            CHECK(now >= before);
            CHECK(after >= now);
        }
        usleep(2000);
    }
}

TEST(coarse_clocks_are_near)
{
    struct timespec ts;

    CHECK_OK(clock_gettime(CLOCK_MONOTONIC_COARSE, &ts));
    CHECK(by_call(CLOCK_MONOTONIC) - ns_of(ts) < 10000000000);
    CHECK(by_call(CLOCK_MONOTONIC) >= ns_of(ts));
    CHECK_OK(clock_gettime(CLOCK_REALTIME_COARSE, &ts));
    CHECK(llabs(by_call(CLOCK_REALTIME) - ns_of(ts)) < 10000000000);
}

TEST(gettimeofday_and_time)
{
    gettimeofday_fn *tod = vdso_symbol("__vdso_gettimeofday");
    time_fn *time_of = vdso_symbol("__vdso_time");
    struct timezone tz = {99, 99};
    struct timeval tv;
    time_t t, r;

    CHECK_EQ(tod(&tv, &tz), 0);
    CHECK_EQ(tz.tz_minuteswest, 0);
    CHECK(llabs(by_call(CLOCK_REALTIME) / 1000 - (tv.tv_sec * 1000000LL + tv.tv_usec)) < 1000000);
    CHECK_EQ(tod(NULL, NULL), 0);
    r = time_of(&t);
    CHECK_EQ(r, t);
    CHECK(by_call(CLOCK_REALTIME) / 1000000000 - t <= 1);
    CHECK_EQ(time_of(NULL) - t <= 1, 1);
}

TEST(unknown_clocks_are_refused)
{
    clock_gettime_fn *get = vdso_symbol("__vdso_clock_gettime");
    struct timespec ts;

    CHECK_EQ(get(100, &ts), -EINVAL);
    CHECK_EQ(get(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
    CHECK_EQ(get(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
}

TEST(getcpu_tells_a_cpu_that_we_may_use)
{
    getcpu_fn *get = vdso_symbol("__vdso_getcpu");
    unsigned int cpu = 12345, node = 12345;

    CHECK_EQ(get(&cpu, &node, NULL), 0);
    CHECK(cpu < (unsigned int)sysconf(_SC_NPROCESSORS_CONF));
    CHECK_EQ(node, 0);
    CHECK_EQ(get(NULL, NULL, NULL), 0);
}

static void *watch(void *arg)
{
    struct timespec ts;
    int64_t last = 0, end = by_call(CLOCK_MONOTONIC) + 2200000000LL;

    while (last < end) {
        clock_gettime(CLOCK_MONOTONIC, &ts);
        if (ns_of(ts) < last)
            return (void *)1;
        last = ns_of(ts);
    }
    return NULL;
}

TEST(time_never_goes_back)
{
    pthread_t th[2];
    void *r;

    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&th[i], NULL, watch, NULL), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(th[i], &r);
        CHECK(r == NULL);
    }
}

TEST(sleeps_are_as_long_as_they_say)
{
    for (int i = 0; i < 20; i++) {
        struct timespec a, b, d = {0, 3000000};
        clock_gettime(CLOCK_MONOTONIC, &a);
        CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &d, NULL), 0);
        clock_gettime(CLOCK_MONOTONIC, &b);
        CHECK(ns_of(b) - ns_of(a) >= 3000000);
    }
}

static volatile sig_atomic_t signals;

static void on_alarm(int signo)
{
    struct timespec ts;

    signals++;
    clock_gettime(CLOCK_MONOTONIC, &ts);
}

TEST(a_signal_in_the_middle_does_no_harm)
{
    struct itimerval fast = {{0, 500}, {0, 500}}, none = {{0, 0}, {0, 0}};
    struct timespec ts;
    int64_t last = 0;

    signal(SIGVTALRM, on_alarm);
    setitimer(ITIMER_VIRTUAL, &fast, NULL);
    for (int i = 0; i < 300000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &ts);
        CHECK(ns_of(ts) >= last);
        last = ns_of(ts);
    }
    setitimer(ITIMER_VIRTUAL, &none, NULL);
}

TEST(cannot_be_written)
{
    char *page = (char *)getauxval(AT_SYSINFO_EHDR);
    int status;

    if (fork() == 0) {
        *(volatile char *)page = 1;
        _exit(0);
    }
    wait(&status);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

TEST(survives_a_fork)
{
    int status;

    if (fork() == 0) {
        struct timespec ts;
        _exit(clock_gettime(CLOCK_REALTIME, &ts) != 0);
    }
    CHECK_OK(wait(&status));
    CHECK_EQ(status, 0);
}
TEST_MAIN()
