/* Robust lists: what a dying thread leaves locked. */
#include "tests/guest/guest_test.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct entry {
    struct robust_list list;
    atomic_uint word;
};

static void *lock_and_die(void *m)
{
    pthread_mutex_lock(m);
    return NULL;
}

static void robust_mutex_init(pthread_mutex_t *m, int pshared, int protocol)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attr, pshared);
    pthread_mutexattr_setprotocol(&attr, protocol);
    CHECK_EQ(pthread_mutex_init(m, &attr), 0);
}

TEST(robust_mutex_of_a_dead_thread)
{
    pthread_mutex_t m;
    pthread_t t;

    robust_mutex_init(&m, PTHREAD_PROCESS_PRIVATE, PTHREAD_PRIO_NONE);
    pthread_create(&t, NULL, lock_and_die, &m);
    pthread_join(t, NULL);
    CHECK_EQ(pthread_mutex_lock(&m), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&m), 0);
    CHECK_EQ(pthread_mutex_unlock(&m), 0);
    CHECK_EQ(pthread_mutex_lock(&m), 0);
    pthread_mutex_unlock(&m);
}

TEST(robust_mutex_of_a_killed_process_wakes_a_waiter)
{
    pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status, pipe_fd[2];
    char c;
    pid_t pid;

    robust_mutex_init(m, PTHREAD_PROCESS_SHARED, PTHREAD_PRIO_NONE);
    CHECK_OK(pipe(pipe_fd));
    pid = fork();
    if (pid == 0) {
        pthread_mutex_lock(m);
        write(pipe_fd[1], "x", 1);
        usleep(100000);
        raise(SIGKILL);
    }
    CHECK_EQ(read(pipe_fd[0], &c, 1), 1);
    CHECK_EQ(pthread_mutex_lock(m), EOWNERDEAD);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
}

TEST(robust_pi_mutex_of_a_dead_process)
{
    pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int pipe_fd[2];
    char c;
    pid_t pid;

    robust_mutex_init(m, PTHREAD_PROCESS_SHARED, PTHREAD_PRIO_INHERIT);
    CHECK_OK(pipe(pipe_fd));
    pid = fork();
    if (pid == 0) {
        pthread_mutex_lock(m);
        write(pipe_fd[1], "x", 1);
        usleep(100000);
        _exit(0);
    }
    CHECK_EQ(read(pipe_fd[0], &c, 1), 1);
    CHECK_EQ(pthread_mutex_lock(m), EOWNERDEAD);
    waitpid(pid, NULL, 0);
}

TEST(robust_list_calls_check_arguments)
{
    struct robust_list_head head = {.list = {&head.list}}, *got;
    size_t len;

    CHECK_ERR(syscall(SYS_set_robust_list, &head, 1), EINVAL);
    CHECK_OK(syscall(SYS_get_robust_list, 0, &got, &len));
    CHECK_EQ(len, sizeof(head));
    CHECK_ERR(syscall(SYS_get_robust_list, 0x3ffffff0, &got, &len), ESRCH);
    CHECK_ERR(syscall(SYS_get_robust_list, 0, (void *)1, &len), EFAULT);
}

/* A hostile list: circles, bad pointers, unaligned words. The process must still end. */
static void *bad_list(void *arg)
{
    static struct robust_list_head head;
    static struct entry e[2];

    switch ((int)(intptr_t)arg) {
    case 0: /* a circle that never returns to the head */
        head.list.next = &e[0].list;
        e[0].list.next = &e[1].list;
        e[1].list.next = &e[0].list;
        head.futex_offset = offsetof(struct entry, word);
        break;
    case 1:
        head.list.next = (void *)8;
        break;
    case 2:
        head.list.next = &e[0].list;
        e[0].list.next = &head.list;
        head.futex_offset = 3;
        break;
    default:
        head.list.next = &head.list;
        head.list_op_pending = (void *)(uintptr_t)0xffffffff00000000;
    }
    syscall(SYS_set_robust_list, arg == (void *)4 ? (void *)1 : &head, sizeof(head));
    return NULL;
}

TEST(robust_hostile_lists_end)
{
    pthread_t t;

    for (int i = 0; i < 5; i++) {
        pthread_create(&t, NULL, bad_list, (void *)(intptr_t)i);
        pthread_join(t, NULL);
    }
}

static struct entry one;

static void *leaves_a_lock(void *arg)
{
    static struct robust_list_head head;

    head.list.next = &one.list;
    one.list.next = &head.list;
    head.futex_offset = offsetof(struct entry, word);
    one.word = (unsigned int)syscall(SYS_gettid) | FUTEX_WAITERS;
    syscall(SYS_set_robust_list, &head, sizeof(head));
    return NULL;
}

TEST(robust_word_is_marked)
{
    pthread_t t;

    pthread_create(&t, NULL, leaves_a_lock, NULL);
    pthread_join(t, NULL);
    CHECK_EQ(one.word, FUTEX_OWNER_DIED | FUTEX_WAITERS);
}

TEST_MAIN()
