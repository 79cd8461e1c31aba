/* Advisory locks: flock, POSIX record locks, open-file-description locks. */
#include "guest_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static int open_file(void)
{
    char name[] = "/tmp/locks-XXXXXX";
    int fd;
    CHECK_OK(fd = mkstemp(name));
    CHECK_OK(unlink(name));
    return fd;
}

static int set_lock(int fd, int cmd, int type, off_t start, off_t len)
{
    struct flock fl = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    return fcntl(fd, cmd, &fl);
}

/* What another process would find at [start, start+len): its type, and range in *fl. */
static int seen_by_child(int fd, off_t start, off_t len, struct flock *fl)
{
    int p[2], status;
    *fl = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    CHECK_OK(pipe(p));
    pid_t pid = fork();
    if (pid == 0) {
        fcntl(fd, F_GETLK, fl);
        _exit(write(p[1], fl, sizeof(*fl)) != sizeof(*fl));
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(read(p[0], fl, sizeof(*fl)), sizeof(*fl));
    close(p[0]);
    close(p[1]);
    return fl->l_type;
}

TEST(posix_locks_split_merge_and_convert)
{
    struct flock fl;
    int fd = open_file();
    CHECK_OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 100));
    CHECK_OK(set_lock(fd, F_SETLK, F_UNLCK, 40, 20));
    CHECK_EQ(seen_by_child(fd, 0, 0, &fl), F_WRLCK);
    CHECK_EQ(fl.l_start, 0);
    CHECK_EQ(fl.l_len, 40);
    CHECK_EQ(fl.l_pid, getpid());
    CHECK_EQ(seen_by_child(fd, 45, 5, &fl), F_UNLCK);
    CHECK_OK(set_lock(fd, F_SETLK, F_WRLCK, 40, 20));
    CHECK_EQ(seen_by_child(fd, 50, 1, &fl), F_WRLCK);
    CHECK_EQ(fl.l_start, 0);
    CHECK_EQ(fl.l_len, 100);
    CHECK_OK(set_lock(fd, F_SETLK, F_RDLCK, 10, 10));
    CHECK_EQ(seen_by_child(fd, 12, 1, &fl), F_RDLCK);
    CHECK_EQ(fl.l_len, 10);
    /* Any close by the process drops them all. */
    close(dup(fd));
    CHECK_EQ(seen_by_child(fd, 0, 0, &fl), F_UNLCK);
    close(fd);
}

TEST(a_blocked_lock_is_granted_when_the_holder_lets_go)
{
    int fd = open_file(), p[2], status;
    char c;
    CHECK_OK(pipe(p));
    CHECK_OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t pid = fork();
    if (pid == 0) {
        if (set_lock(fd, F_SETLK, F_WRLCK, 0, 1) != -1 || (errno != EAGAIN && errno != EACCES))
            _exit(1);
        if (write(p[1], "r", 1) != 1)
            _exit(2);
        _exit(set_lock(fd, F_SETLKW, F_WRLCK, 0, 1) == 0 ? 0 : 3);
    }
    CHECK_EQ(read(p[0], &c, 1), 1);
    wait_blocked(pid, pid);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    CHECK_OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 1));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(fd);
}

TEST(a_deadlock_is_refused)
{
    int fd = open_file(), p[2], status;
    char c;
    CHECK_OK(pipe(p));
    CHECK_OK(set_lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t pid = fork();
    if (pid == 0) {
        if (set_lock(fd, F_SETLK, F_WRLCK, 1, 1) == -1 || write(p[1], "r", 1) != 1)
            _exit(1);
        int r = set_lock(fd, F_SETLKW, F_WRLCK, 0, 1);
        _exit(r == 0 ? 0 : errno == EDEADLK ? 35 : 2);
    }
    CHECK_EQ(read(p[0], &c, 1), 1);
    wait_blocked(pid, pid);
    CHECK_ERR(set_lock(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
    CHECK_OK(set_lock(fd, F_SETLK, F_UNLCK, 0, 1));
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(fd);
}

static void on_signal(int signo)
{
}

TEST(flock_belongs_to_the_description_and_can_be_interrupted)
{
    char name[] = "/tmp/locks-XXXXXX";
    int a, b, status;
    CHECK_OK(a = mkstemp(name));
    CHECK_OK(b = open(name, O_RDWR));
    CHECK_OK(flock(a, LOCK_EX));
    CHECK_ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    CHECK_OK(flock(a, LOCK_SH));
    CHECK_OK(flock(b, LOCK_SH | LOCK_NB));
    CHECK_ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    CHECK_ERR(flock(a, 16), EINVAL);
    CHECK_OK(flock(a, LOCK_EX | LOCK_NB)); /* b lost its lock in the vain attempt to convert it */
    pid_t pid = fork();
    if (pid == 0) {
        struct sigaction sa = {.sa_handler = on_signal};
        sigaction(SIGALRM, &sa, NULL);
        alarm(1);
        _exit(flock(b, LOCK_EX) == -1 && errno == EINTR ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    close(a);
    CHECK_OK(flock(b, LOCK_EX | LOCK_NB));
    close(b);
    unlink(name);
}

TEST(ofd_locks_conflict_between_descriptions_of_one_process)
{
    char name[] = "/tmp/locks-XXXXXX";
    int a, b;
    CHECK_OK(a = mkstemp(name));
    CHECK_OK(b = open(name, O_RDWR));
    unlink(name);
    CHECK_OK(set_lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
    CHECK_ERR(set_lock(b, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN);
    CHECK_ERR(set_lock(b, F_SETLK, F_RDLCK, 5, 1), EAGAIN);
    struct flock fl = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    CHECK_OK(fcntl(b, F_OFD_GETLK, &fl));
    CHECK_EQ(fl.l_type, F_WRLCK);
    CHECK_EQ(fl.l_pid, -1);
    close(a);
    CHECK_OK(set_lock(b, F_OFD_SETLK, F_RDLCK, 5, 1));
    close(b);
}
TEST_MAIN()
