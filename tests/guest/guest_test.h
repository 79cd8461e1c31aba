/*
 * Guest tests are standalone programs: they assert what Linux does, print the line that does not hold, and exit 0 only if all
 * of them held. They run on the host kernel first (the oracle) and then in the sandbox on every platform.
 *
 *     TEST(pipe_reads_what_was_written)
 *     {
 *         int fd[2];
 *         CHECK_OK(pipe(fd));
 *         CHECK_EQ(write(fd[1], "x", 1), 1);
 *         CHECK_ERR(read(-1, NULL, 0), EBADF);
 *     }
 *     TEST_MAIN()
 *
 * TEST() functions register themselves and run in order of definition, all in one process; with arguments, only the named
 * ones run. A failed check leaves its test (and marks it failed); the next test still runs. Each test has 60 seconds,
 * times TEST_TIME_FACTOR of the environment.
 *
 * No test may depend on how fast anything is: wait for a state (wait_blocked()), or for an event with a long limit.
 */
#ifndef TESTS_GUEST_GUEST_TEST_H
#define TESTS_GUEST_GUEST_TEST_H

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct guest_test {
    const char *name;
    void (*fn)(void);
    struct guest_test *next;
};

static struct guest_test *guest_tests, **guest_tests_end = &guest_tests;
static jmp_buf guest_test_out;
static pid_t guest_test_pid;
static int guest_test_failed;

static inline void guest_test_register(struct guest_test *t)
{
    *guest_tests_end = t;
    guest_tests_end = &t->next;
}

/* Prints and leaves the test. In a child process of a test it exits with 1, which its parent should notice. */
static inline __attribute__((noreturn, format(printf, 3, 4))) void guest_test_fail(const char *file, int line, const char *fmt,
                                                                                   ...)
{
    va_list ap;
    char msg[512];

    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    dprintf(2, "%s:%d: %s\n", file, line, msg);
    if (getpid() != guest_test_pid)
        _exit(1);
    guest_test_failed = 1;
    longjmp(guest_test_out, 1);
}

#define TEST(name_)                                                        \
    static void test_##name_(void);                                        \
    static __attribute__((constructor)) void register_##name_(void)        \
    {                                                                      \
        static struct guest_test t = {.name = #name_, .fn = test_##name_}; \
        guest_test_register(&t);                                           \
    }                                                                      \
    static void test_##name_(void)

#define CHECK(cond)                                                                       \
    do {                                                                                  \
        if (!(cond))                                                                      \
            guest_test_fail(__FILE__, __LINE__, "%s (errno %s)", #cond, strerror(errno)); \
    } while (0)

/* Integers are equal. */
#define CHECK_EQ(a, b)                                                                                                    \
    do {                                                                                                                  \
        long long a_ = (long long)(a), b_ = (long long)(b);                                                               \
        if (a_ != b_)                                                                                                     \
            guest_test_fail(__FILE__, __LINE__, "%s is %lld, want %lld (%s; errno %s)", #a, a_, b_, #b, strerror(errno)); \
    } while (0)

/* The call returned something else than -1. */
#define CHECK_OK(call)                                                                    \
    do {                                                                                  \
        if ((long long)(call) == -1)                                                      \
            guest_test_fail(__FILE__, __LINE__, "%s failed: %s", #call, strerror(errno)); \
    } while (0)

/* The call returned -1 with this errno. */
#define CHECK_ERR(call, err)                                                                                        \
    do {                                                                                                            \
        errno = 0;                                                                                                  \
        long long r_ = (long long)(call);                                                                           \
        if (r_ != -1 || errno != (err))                                                                             \
            guest_test_fail(__FILE__, __LINE__, "%s is %lld, errno %s; want %s", #call, r_, strerror(errno), #err); \
    } while (0)

#define CHECK_STR(a, b)                                                                   \
    do {                                                                                  \
        const char *a_ = (a), *b_ = (b);                                                  \
        if (strcmp(a_, b_) != 0)                                                          \
            guest_test_fail(__FILE__, __LINE__, "%s is \"%s\", want \"%s\"", #a, a_, b_); \
    } while (0)

/* The rest of the test needs something that this system lacks: it counts as passed. */
#define SKIP(why)                                       \
    do {                                                \
        dprintf(1, "%s: skipped: %s\n", __func__, why); \
        return;                                         \
    } while (0)

/* The state letter of a thread in /proc, 0 when there is none such. */
static inline char thread_state(pid_t pid, pid_t tid)
{
    char path[64], stat[512], *paren = NULL;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
    f = fopen(path, "r");
    if (!f)
        return 0;
    paren = fgets(stat, sizeof(stat), f) ? strrchr(stat, ')') : NULL;
    fclose(f);
    return paren ? paren[2] : 0;
}

/*
 * Waits until a thread sleeps in a system call: the calling process's if `pid` is 0. What it waits for must come before
 * anything else that it could sleep on.
 */
static inline void wait_blocked(pid_t pid, pid_t tid)
{
    for (int i = 0; i < 30000; i++) {
        if (thread_state(pid ? pid : getpid(), tid) == 'S')
            return;
        usleep(1000);
    }
    guest_test_fail(__FILE__, __LINE__, "thread %d of %d is never asleep", tid, pid);
}

/* The same for `n` other threads of the calling process, which are all that it has. */
static inline void wait_others_blocked(int n)
{
    for (int i = 0; i < 30000; i++) {
        DIR *d = opendir("/proc/self/task");
        struct dirent *e;
        int asleep = 0, awake = 0;

        while (d && (e = readdir(d))) {
            if (e->d_name[0] == '.' || atoi(e->d_name) == gettid())
                continue;
            if (thread_state(getpid(), atoi(e->d_name)) == 'S')
                asleep++;
            else
                awake++;
        }
        if (d)
            closedir(d);
        if (asleep == n && !awake)
            return;
        usleep(1000);
    }
    guest_test_fail(__FILE__, __LINE__, "there are never %d other threads asleep", n);
}

static inline int guest_test_main(int argc, char **argv)
{
    const char *factor = getenv("TEST_TIME_FACTOR");
    unsigned int limit = 60 * (factor && atoi(factor) > 0 ? (unsigned int)atoi(factor) : 1);
    int ran = 0, failed = 0;

    guest_test_pid = getpid();
    for (struct guest_test *t = guest_tests; t; t = t->next) {
        bool wanted = argc < 2;
        for (int i = 1; i < argc; i++)
            wanted |= strcmp(argv[i], t->name) == 0;
        if (!wanted)
            continue;
        ran++;
        guest_test_failed = 0;
        alarm(limit);
        if (setjmp(guest_test_out) == 0)
            t->fn();
        alarm(0);
        if (guest_test_failed) {
            dprintf(2, "FAILED %s\n", t->name);
            failed++;
        }
    }
    dprintf(1, "%d tests, %d failed\n", ran, failed);
    return failed || ran == 0;
}

#define TEST_MAIN()                         \
    int main(int argc, char **argv)         \
    {                                       \
        return guest_test_main(argc, argv); \
    }

#endif
