/* System V message queues. */
#include "tests/guest/guest_test.h"

#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>

#ifndef MSG_COPY
#define MSG_COPY 040000
#endif

struct text {
    long type;
    char data[64];
};

static int make(void)
{
    int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

    CHECK_OK(id);
    return id;
}

static void send(int id, long type, const char *s)
{
    struct text m = {.type = type};

    strcpy(m.data, s);
    CHECK_OK(msgsnd(id, &m, strlen(s) + 1, 0));
}

/* What comes for `type` must be `s`. */
static void expect(int id, long type, int flags, const char *s)
{
    struct text m = {0};

    CHECK_EQ(msgrcv(id, &m, sizeof(m.data), type, flags), strlen(s) + 1);
    CHECK_STR(m.data, s);
}

TEST(msg_types_select)
{
    int id = make();
    struct text m;

    send(id, 3, "three");
    send(id, 1, "one");
    send(id, 2, "two");
    send(id, 3, "three again");
    send(id, 5, "five");
    expect(id, 3, 0, "three");
    expect(id, -4, 0, "one");
    expect(id, 3, MSG_EXCEPT, "two");
    expect(id, 1, MSG_COPY | IPC_NOWAIT, "five");
    expect(id, 0, 0, "three again");
    CHECK_ERR(msgrcv(id, &m, 64, 3, IPC_NOWAIT), ENOMSG);
    CHECK_ERR(msgrcv(id, &m, 64, 9, MSG_COPY | IPC_NOWAIT), ENOMSG);
    CHECK_ERR(msgrcv(id, &m, 64, 0, MSG_COPY), EINVAL);
    CHECK_ERR(msgrcv(id, &m, 2, 5, 0), E2BIG);
    CHECK_EQ(msgrcv(id, &m, 2, 5, MSG_NOERROR), 2);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST(msg_receiver_waits)
{
    int id = make(), status;
    pid_t pid = fork();

    if (pid == 0) {
        struct text m;
        _exit(msgrcv(id, &m, 64, 7, 0) == 6 && strcmp(m.data, "hello") == 0 ? 0 : 1);
    }
    wait_blocked(pid, pid);
    send(id, 6, "other");
    send(id, 7, "hello");
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

TEST(msg_sender_waits_for_room)
{
    int id = make(), status;
    struct {
        long type;
        char data[8000];
    } big = {.type = 1};
    struct msqid_ds ds;
    pid_t pid;

    CHECK_OK(msgsnd(id, &big, 8000, 0));
    CHECK_OK(msgsnd(id, &big, 8000, 0));
    CHECK_ERR(msgsnd(id, &big, 8000, IPC_NOWAIT), EAGAIN);
    pid = fork();
    if (pid == 0)
        _exit(msgsnd(id, &big, 8000, 0) ? errno : 0);
    wait_blocked(pid, pid);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    CHECK_EQ(msgrcv(id, &big, 8000, 0, 0), 8000);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_OK(msgctl(id, IPC_STAT, &ds));
    CHECK_EQ(ds.msg_qnum, 2);
    CHECK_EQ(ds.msg_lspid, pid);
    CHECK_EQ(ds.msg_lrpid, getpid());
    CHECK_EQ(ds.msg_qbytes, 16384);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
}

static void on_signal(int signo)
{
}

TEST(msg_waiting_ends_by_removal_or_signal)
{
    int id = make(), status;
    pid_t pid = fork(), pid2;
    struct text m;

    if (pid == 0)
        _exit(msgrcv(id, &m, 64, 0, 0) == -1 && errno == EIDRM ? 0 : 1);
    pid2 = fork();
    if (pid2 == 0) {
        struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

        sigaction(SIGUSR1, &sa, NULL);
        _exit(msgrcv(id, &m, 64, 0, 0) == -1 && errno == EINTR ? 0 : 1);
    }
    wait_blocked(pid, pid);
    wait_blocked(pid2, pid2);
    kill(pid2, SIGUSR1);
    CHECK_EQ(waitpid(pid2, &status, 0), pid2);
    CHECK_EQ(status, 0);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(msg_errors_and_info)
{
    int id = msgget(0x51530001, IPC_CREAT | IPC_EXCL | 0600);
    struct text m = {.type = 0};
    struct msqid_ds ds;
    struct msginfo info;

    CHECK_OK(id);
    CHECK_EQ(msgget(0x51530001, 0), id);
    CHECK_ERR(msgget(0x51530001, IPC_CREAT | IPC_EXCL), EEXIST);
    CHECK_ERR(msgget(0x51530002, 0), ENOENT);
    CHECK_ERR(msgsnd(id, &m, 1, 0), EINVAL);
    m.type = 1;
    CHECK_ERR(msgsnd(id, &m, 8193, 0), EINVAL);
    CHECK_ERR(msgsnd(-1, &m, 1, 0), EINVAL);
    CHECK_ERR(msgsnd(id, (void *)1, 1, 0), EFAULT);
    CHECK_OK(msgsnd(id, &m, 0, 0));
    CHECK_EQ(msgrcv(id, &m, 0, 0, 0), 0);
    CHECK_ERR(msgctl(id, IPC_STAT, (void *)1), EFAULT);
    CHECK_ERR(msgctl(id, 99, &ds), EINVAL);
    CHECK_OK(msgctl(id, IPC_STAT, &ds));
    ds.msg_qbytes = 4096;
    CHECK_OK(msgctl(id, IPC_SET, &ds));
    CHECK_OK(msgctl(id, IPC_STAT, &ds));
    CHECK_EQ(ds.msg_qbytes, 4096);
    CHECK_OK(msgctl(0, IPC_INFO, (void *)&info));
    CHECK_EQ(info.msgmax, 8192);
    CHECK_OK(msgctl(0, MSG_INFO, (void *)&info));
    CHECK(info.msgpool >= 1);
    CHECK_OK(msgctl(id, IPC_RMID, NULL));
    CHECK_ERR(msgctl(id, IPC_RMID, NULL), EINVAL);
}

TEST_MAIN()
