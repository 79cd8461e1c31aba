/* System V semaphores. */
#include "tests/guest/guest_test.h"

#include <signal.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
    struct seminfo *info;
};

static int make(int n)
{
    int id = semget(IPC_PRIVATE, n, IPC_CREAT | 0600);

    CHECK_OK(id);
    return id;
}

static int op(int id, int num, int value, int flags)
{
    struct sembuf s = {(unsigned short)num, (short)value, (short)flags};

    return semop(id, &s, 1);
}

static void set(int id, int num, int value)
{
    CHECK_OK(semctl(id, num, SETVAL, (union semun){.val = value}));
}

TEST(sem_counts)
{
    int id = make(2);

    CHECK_EQ(semctl(id, 0, GETVAL), 0);
    CHECK_OK(op(id, 0, 3, 0));
    CHECK_OK(op(id, 0, -2, 0));
    CHECK_EQ(semctl(id, 0, GETVAL), 1);
    CHECK_EQ(semctl(id, 0, GETPID), getpid());
    CHECK_ERR(op(id, 0, -2, IPC_NOWAIT), EAGAIN);
    CHECK_ERR(op(id, 0, 0, IPC_NOWAIT), EAGAIN);
    CHECK_OK(op(id, 1, 0, IPC_NOWAIT));
    CHECK_ERR(op(id, 2, 1, 0), EFBIG);
    CHECK_ERR(op(id, 0, 32767, 0), ERANGE);
    CHECK_OK(semctl(id, 0, IPC_RMID));
    CHECK_ERR(op(id, 0, 1, 0), EINVAL);
}

TEST(sem_operations_are_atomic)
{
    int id = make(2);
    struct sembuf ops[2] = {{0, 1, 0}, {1, -1, IPC_NOWAIT}};

    CHECK_ERR(semop(id, ops, 2), EAGAIN);
    CHECK_EQ(semctl(id, 0, GETVAL), 0);
    set(id, 1, 1);
    CHECK_OK(semop(id, ops, 2));
    CHECK_EQ(semctl(id, 0, GETVAL), 1);
    CHECK_EQ(semctl(id, 1, GETVAL), 0);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(sem_waits_and_wakes)
{
    int id = make(1), status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(op(id, 0, -2, 0) ? errno : 0);
    while (semctl(id, 0, GETNCNT) != 1)
        usleep(1000);
    CHECK_OK(op(id, 0, 1, 0));
    usleep(20000);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    CHECK_OK(op(id, 0, 1, 0));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(semctl(id, 0, GETVAL), 0);
    set(id, 0, 1);
    pid = fork();
    if (pid == 0)
        _exit(op(id, 0, 0, 0) ? errno : 0);
    while (semctl(id, 0, GETZCNT) != 1)
        usleep(1000);
    set(id, 0, 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

static void on_signal(int signo)
{
}

TEST(sem_waiting_ends_by_removal_signal_or_time)
{
    int id = make(1), status;
    struct sembuf down = {0, -1, 0};
    struct timespec ts = {0, 30000000};
    pid_t pid = fork();

    if (pid == 0)
        _exit(op(id, 0, -1, 0) == -1 && errno == EIDRM ? 0 : 1);
    while (semctl(id, 0, GETNCNT) != 1)
        usleep(1000);
    CHECK_OK(semctl(id, 0, IPC_RMID));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);

    id = make(1);
    CHECK_ERR(semtimedop(id, &down, 1, &ts), EAGAIN);
    ts.tv_nsec = 1000000000;
    CHECK_ERR(semtimedop(id, &down, 1, &ts), EINVAL);
    pid = fork();
    if (pid == 0) {
        struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

        sigaction(SIGUSR1, &sa, NULL);
        _exit(op(id, 0, -1, 0) == -1 && errno == EINTR ? 0 : 1);
    }
    while (semctl(id, 0, GETNCNT) != 1)
        usleep(1000);
    kill(pid, SIGUSR1);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(semctl(id, 0, GETNCNT), 0);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(sem_undo_at_exit)
{
    int id = make(2);
    pid_t pid;

    set(id, 0, 5);
    pid = fork();
    if (pid == 0) {
        op(id, 0, -3, SEM_UNDO);
        op(id, 1, 2, SEM_UNDO);
        op(id, 1, 1, 0);
        _exit(semctl(id, 0, GETVAL) != 2);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(semctl(id, 0, GETVAL), 5);
    CHECK_EQ(semctl(id, 1, GETVAL), 1);
    /* Undoing may let somebody go on. */
    set(id, 0, 1);
    pid = fork();
    if (pid == 0) {
        op(id, 0, -1, SEM_UNDO);
        usleep(100000);
        raise(SIGKILL);
    }
    while (semctl(id, 0, GETVAL) != 0)
        usleep(1000);
    CHECK_OK(op(id, 0, -1, 0));
    waitpid(pid, NULL, 0);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(sem_all_values)
{
    int id = make(3);
    unsigned short v[3] = {1, 2, 3}, got[3], big[3] = {1, 40000, 1};

    CHECK_OK(semctl(id, 0, SETALL, (union semun){.array = v}));
    CHECK_OK(semctl(id, 0, GETALL, (union semun){.array = got}));
    CHECK(memcmp(v, got, sizeof(v)) == 0);
    CHECK_ERR(semctl(id, 0, SETALL, (union semun){.array = big}), ERANGE);
    CHECK_ERR(semctl(id, 0, SETVAL, (union semun){.val = -1}), ERANGE);
    CHECK_ERR(semctl(id, 0, SETVAL, (union semun){.val = 32768}), ERANGE);
    CHECK_ERR(semctl(id, 3, GETVAL), EINVAL);
    CHECK_ERR(semctl(id, 0, GETALL, (union semun){.array = (void *)1}), EFAULT);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST(sem_ids_and_info)
{
    struct semid_ds ds;
    struct seminfo info;
    struct sembuf s = {0};
    int id = semget(0x51520001, 4, IPC_CREAT | IPC_EXCL | 0640), idx;

    CHECK_OK(id);
    CHECK_EQ(semget(0x51520001, 4, 0), id);
    CHECK_ERR(semget(0x51520001, 5, 0), EINVAL);
    CHECK_ERR(semget(0x51520001, 4, IPC_CREAT | IPC_EXCL), EEXIST);
    CHECK_ERR(semget(0x51520002, 4, 0), ENOENT);
    CHECK_ERR(semget(IPC_PRIVATE, 0, 0600), EINVAL);
    CHECK_ERR(semget(IPC_PRIVATE, -1, 0600), EINVAL);
    CHECK_OK(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}));
    CHECK_EQ(ds.sem_nsems, 4);
    CHECK_EQ(ds.sem_perm.mode, 0640);
    CHECK_EQ(ds.sem_otime, 0);
    CHECK_OK(op(id, 0, 1, 0));
    CHECK_OK(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}));
    CHECK(ds.sem_otime > 0);
    idx = semctl(0, 0, SEM_INFO, (union semun){.info = &info});
    CHECK(idx >= 0 && info.semusz >= 1);
    CHECK_EQ(semctl(idx, 0, SEM_STAT, (union semun){.buf = &ds}) >= 0, 1);
    CHECK_OK(semctl(0, 0, IPC_INFO, (union semun){.info = &info}));
    CHECK_EQ(info.semvmx, 32767);
    CHECK_ERR(semop(id, &s, 0), EINVAL);
    CHECK_ERR(semop(id, &s, 501), E2BIG);
    CHECK_ERR(semop(id, (void *)1, 1), EFAULT);
    CHECK_ERR(semctl(id, 0, 99), EINVAL);
    CHECK_OK(semctl(id, 0, IPC_RMID));
}

TEST_MAIN()
