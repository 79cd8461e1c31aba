/* /proc/PID and /proc/PID/task/TID. */
#include "guest_test.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char text[1 << 16];

static ssize_t slurp(const char *name)
{
    ssize_t n = 0, r;
    int fd = open(name, O_RDONLY);
    if (fd < 0)
        return -1;
    while ((r = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
        n += r;
    text[n] = 0;
    close(fd);
    return r < 0 ? -1 : n;
}

static const char *status_of(pid_t pid, const char *field)
{
    char name[64];
    snprintf(name, sizeof(name), "/proc/%d/status", pid);
    if (slurp(name) < 0)
        return "";
    char *p = strstr(text, field);
    if (!p)
        return "";
    p += strlen(field) + 2;
    p[strcspn(p, "\n")] = 0;
    return p;
}

TEST(stat_fields)
{
    int pid, ppid, pgrp, session, tty, tpgid, nice_;
    char comm[64], state;
    unsigned int flags;
    unsigned long minflt, cminflt, majflt, cmajflt, utime, stime, vsize;
    long cutime, cstime, prio, threads, itreal, rss;
    unsigned long long start;
    CHECK(slurp("/proc/self/stat") > 0);
    CHECK_EQ(sscanf(text, "%d (%63[^)]) %c %d %d %d %d %d %u %lu %lu %lu %lu %lu %lu %ld %ld %ld %d %ld %ld %llu %lu %ld", &pid,
                    comm, &state, &ppid, &pgrp, &session, &tty, &tpgid, &flags, &minflt, &cminflt, &majflt, &cmajflt, &utime,
                    &stime, &cutime, &cstime, &prio, &nice_, &threads, &itreal, &start, &vsize, &rss),
             24);
    CHECK_EQ(pid, getpid());
    CHECK_EQ(ppid, getppid());
    CHECK_EQ(pgrp, getpgrp());
    CHECK_EQ(session, getsid(0));
    CHECK_EQ(state, 'R');
    CHECK_EQ(threads, 1);
    CHECK_EQ(nice_, getpriority(PRIO_PROCESS, 0));
    CHECK_EQ(prio, 20 + nice_);
    CHECK(vsize > 4096 && rss > 0);
    int spaces = 0;
    for (char *p = strrchr(text, ')'); *p; p++)
        spaces += *p == ' ';
    CHECK_EQ(spaces, 50);
}

TEST(status_fields)
{
    CHECK_EQ(atoi(status_of(getpid(), "\nPid")), getpid());
    CHECK_EQ(atoi(status_of(getpid(), "\nTgid")), getpid());
    CHECK_EQ(atoi(status_of(getpid(), "\nPPid")), getppid());
    CHECK_EQ(atoi(status_of(getpid(), "\nThreads")), 1);
    CHECK_EQ(status_of(getpid(), "\nState")[0], 'R');
    uid_t r, e, s, f;
    CHECK_EQ(sscanf(status_of(getpid(), "\nUid"), "%u\t%u\t%u\t%u", &r, &e, &s, &f), 4);
    CHECK_EQ(r, getuid());
    CHECK_EQ(e, geteuid());
    CHECK(atol(status_of(getpid(), "\nVmSize")) > 0);
    CHECK(atol(status_of(getpid(), "\nVmRSS")) > 0);
    CHECK_EQ(strlen(status_of(getpid(), "\nSigBlk")), 16);
    CHECK_EQ(strlen(status_of(getpid(), "\nCapEff")), 16);
    mode_t old = umask(0123);
    CHECK_EQ(strtol(status_of(getpid(), "\nUmask"), NULL, 8), 0123);
    umask(old);
}

TEST(status_shows_signal_sets)
{
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    signal(SIGUSR2, SIG_IGN);
    kill(getpid(), SIGUSR1);
    CHECK(strtoull(status_of(getpid(), "\nSigBlk"), NULL, 16) >> (SIGUSR1 - 1) & 1);
    CHECK(strtoull(status_of(getpid(), "\nShdPnd"), NULL, 16) >> (SIGUSR1 - 1) & 1);
    CHECK(strtoull(status_of(getpid(), "\nSigIgn"), NULL, 16) >> (SIGUSR2 - 1) & 1);
    signal(SIGUSR1, SIG_IGN);
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGUSR1, SIG_DFL);
    signal(SIGUSR2, SIG_DFL);
}

TEST(states_of_children)
{
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    char state = 0;
    for (int i = 0; i < 200 && state != 'S'; i++) {
        usleep(5000);
        state = status_of(pid, "\nState")[0];
    }
    CHECK_EQ(state, 'S');
    kill(pid, SIGSTOP);
    CHECK_EQ(waitpid(pid, NULL, WUNTRACED), pid);
    CHECK_EQ(status_of(pid, "\nState")[0], 'T');
    kill(pid, SIGKILL);
    for (int i = 0; i < 200 && state != 'Z'; i++) {
        usleep(5000);
        state = status_of(pid, "\nState")[0];
    }
    CHECK_EQ(state, 'Z');
    char name[64];
    snprintf(name, sizeof(name), "/proc/%d/cmdline", pid);
    CHECK_EQ(slurp(name), 0);
    snprintf(name, sizeof(name), "/proc/%d/stat", pid);
    CHECK(slurp(name) > 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_ERR(open(name, O_RDONLY), ENOENT);
}

TEST(reading_after_the_process_has_gone_is_esrch)
{
    char name[64], c;
    pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    snprintf(name, sizeof(name), "/proc/%d/status", pid);
    int fd = open(name, O_RDONLY);
    CHECK_OK(fd);
    kill(pid, SIGKILL);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_ERR(read(fd, &c, 1), ESRCH);
    close(fd);
}

extern char **environ;

TEST(cmdline_and_environ)
{
    ssize_t n = slurp("/proc/self/cmdline");
    CHECK(n > 0);
    CHECK_EQ(text[n - 1], 0);
    CHECK(strstr(text, "proc_pid") || strstr(text, "v2t"));
    pid_t pid = fork();
    if (pid == 0) {
        char *const argv[] = {(char *)"cat", (char *)"/proc/self/environ", NULL}, *const envp[] = {(char *)"A=1",
                                                                                                   (char *)"BB=22", NULL};
        int fd = open("/tmp/proc_pid_env", O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(fd, 1);
        execve("/bin/cat", argv, envp);
        _exit(77);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (WEXITSTATUS(status) == 77)
        SKIP("no /bin/cat");
    CHECK_EQ(slurp("/tmp/proc_pid_env"), 10);
    CHECK_EQ(memcmp(text, "A=1\0BB=22", 10), 0);
    unlink("/tmp/proc_pid_env");
}

TEST(comm_can_be_written)
{
    CHECK_EQ(slurp("/proc/self/comm") > 1, 1);
    int fd = open("/proc/self/comm", O_RDWR);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "a-name-that-is-too-long", 23), 23);
    close(fd);
    CHECK(slurp("/proc/self/comm") > 0);
    CHECK_STR(text, "a-name-that-is-\n");
    char name[16];
    prctl(PR_GET_NAME, name);
    CHECK_STR(name, "a-name-that-is-");
    prctl(PR_SET_NAME, "other");
    CHECK(slurp("/proc/self/comm") > 0);
    CHECK_STR(text, "other\n");
}

TEST(auxv)
{
    ssize_t n = slurp("/proc/self/auxv");
    unsigned long *v = (unsigned long *)text;
    bool end = false;
    CHECK(n >= 32 && n % 16 == 0);
    for (ssize_t i = 0; i < n / 8; i += 2) {
        if (v[i] == AT_PAGESZ)
            CHECK_EQ(v[i + 1], 4096);
        if (v[i] == AT_NULL)
            end = true;
    }
    CHECK(end);
}

TEST(maps_follow_mappings)
{
    unsigned long start, end;
    char prot[5], want[64];
    char *p = mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK_OK(mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE));
    CHECK(slurp("/proc/self/maps") > 0);
    snprintf(want, sizeof(want), "%08lx-%08lx rw-p 00000000 00:00 0 ", (unsigned long)p + 4096, (unsigned long)p + 8192);
    CHECK(strstr(text, want));
    CHECK(strstr(text, "[stack]\n"));
    CHECK(strstr(text, "[heap]\n"));
    unsigned long last = 0;
    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        CHECK_EQ(sscanf(line, "%lx-%lx %4s", &start, &end, prot), 3);
        CHECK(start >= last && end > start);
        last = end;
    }
    munmap(p, 3 * 4096);
    CHECK(slurp("/proc/self/maps") > 0);
    CHECK(!strstr(text, want));
}

TEST(maps_name_files)
{
    char name[] = "/tmp/proc pidXXXXXX";
    int fd = mkstemp(name);
    CHECK_OK(fd);
    CHECK_OK(ftruncate(fd, 8192));
    char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096);
    CHECK(p != MAP_FAILED);
    struct stat st;
    fstat(fd, &st);
    CHECK(slurp("/proc/self/maps") > 0);
    char *line = strstr(text, name);
    CHECK(line);
    while (line > text && line[-1] != '\n')
        line--;
    unsigned long start, off, ino;
    char prot[5];
    CHECK_EQ(sscanf(line, "%lx-%*x %4s %lx %*x:%*x %lu", &start, prot, &off, &ino), 4);
    CHECK_EQ(start, (unsigned long)p);
    CHECK_EQ(off, 4096);
    CHECK_EQ(ino, st.st_ino);
    CHECK_STR(prot, "r--s");
    munmap(p, 4096);
    close(fd);
    unlink(name);
}

TEST(smaps_counts_resident_pages)
{
    char want[64];
    unsigned long rss, size;
    char *p = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK_OK(mprotect(p, 4096, PROT_NONE)); /* keeps neighbours from merging */
    memset(p + 4096, 1, 62 * 4096);
    CHECK_OK(mprotect(p + 63 * 4096, 4096, PROT_NONE));
    snprintf(want, sizeof(want), "%08lx-", (unsigned long)p + 4096);
    CHECK(slurp("/proc/self/smaps") > 0);
    char *at = strstr(text, want);
    CHECK(at);
    CHECK_EQ(sscanf(strstr(at, "Size:"), "Size: %lu kB", &size), 1);
    CHECK_EQ(size, 62 * 4);
    CHECK_EQ(sscanf(strstr(at, "\nRss:"), "\nRss: %lu kB", &rss), 1);
    CHECK_EQ(rss, 62 * 4);
    CHECK(strstr(at, "VmFlags: rd wr "));
    munmap(p, 64 * 4096);
    CHECK(slurp("/proc/self/smaps_rollup") > 0);
    CHECK(strstr(text, "[rollup]\n"));
    CHECK(strstr(text, "\nRss: "));
}

TEST(mem_reads_and_writes_regardless_of_protection)
{
    char buf[8];
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(p, "abc");
    CHECK_OK(mprotect(p, 4096, PROT_READ));
    int fd = open("/proc/self/mem", O_RDWR);
    CHECK_OK(fd);
    CHECK_EQ(pread(fd, buf, 4, (off_t)p), 4);
    CHECK_STR(buf, "abc");
    CHECK_EQ(pwrite(fd, "xyz", 4, (off_t)p), 4);
    CHECK_STR(p, "xyz");
    CHECK_EQ(lseek(fd, (off_t)p + 1, SEEK_SET), (off_t)p + 1);
    CHECK_EQ(read(fd, buf, 1), 1);
    CHECK_EQ(buf[0], 'y');
    CHECK_OK(munmap(p, 4096));
    CHECK_ERR(pread(fd, buf, 4, (off_t)p), EIO);
    close(fd);
}

TEST(mem_of_a_child)
{
    static volatile int value = 5;
    char name[64];
    int got = 0;
    pid_t pid = fork();
    if (pid == 0) {
        value = 77;
        raise(SIGSTOP);
        _exit(value == 99 ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
    snprintf(name, sizeof(name), "/proc/%d/mem", pid);
    int fd = open(name, O_RDWR);
    CHECK_OK(fd);
    CHECK_EQ(pread(fd, &got, sizeof(got), (off_t)&value), sizeof(got));
    CHECK_EQ(got, 77);
    got = 99;
    CHECK_EQ(pwrite(fd, &got, sizeof(got), (off_t)&value), sizeof(got));
    close(fd);
    kill(pid, SIGCONT);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(value, 5);
}

TEST(links)
{
    char buf[4096], cwd[4096];
    ssize_t n = readlink("/proc/self/cwd", buf, sizeof(buf) - 1);
    CHECK(n > 0);
    buf[n] = 0;
    CHECK(getcwd(cwd, sizeof(cwd)));
    CHECK_STR(buf, cwd);
    n = readlink("/proc/self/root", buf, sizeof(buf) - 1);
    CHECK_EQ(n, 1);
    CHECK_EQ(buf[0], '/');
    n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);
    CHECK(n > 0);
    buf[n] = 0;
    struct stat a, b;
    CHECK_OK(stat(buf, &a));
    CHECK_OK(stat("/proc/self/exe", &b));
    CHECK_EQ(a.st_ino, b.st_ino);
    unsigned char magic[4];
    int fd = open("/proc/self/exe", O_RDONLY);
    CHECK_OK(fd);
    CHECK_EQ(read(fd, magic, 4), 4);
    CHECK_EQ(memcmp(magic, "\177ELF", 4), 0);
    close(fd);
}

TEST(limits)
{
    struct rlimit rl;
    char soft[32];
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &rl));
    CHECK(slurp("/proc/self/limits") > 0);
    char *p = strstr(text, "\nMax open files");
    CHECK(p);
    CHECK_EQ(sscanf(p, "\nMax open files %31s", soft), 1);
    CHECK(rl.rlim_cur == RLIM_INFINITY || (rlim_t)atoll(soft) == rl.rlim_cur);
}

static void *thread_fn(void *arg)
{
    prctl(PR_SET_NAME, "worker");
    *(pid_t *)arg = syscall(SYS_gettid);
    pause();
    return NULL;
}

TEST(tasks)
{
    static pid_t tid;
    pthread_t th;
    char name[64];
    int nr = 0;
    CHECK_EQ(pthread_create(&th, NULL, thread_fn, &tid), 0);
    while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
        usleep(1000);
    DIR *d = opendir("/proc/self/task");
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));)
        nr += e->d_name[0] != '.' && (atoi(e->d_name) == tid || atoi(e->d_name) == getpid());
    closedir(d);
    CHECK_EQ(nr, 2);
    snprintf(name, sizeof(name), "/proc/self/task/%d/comm", tid);
    CHECK(slurp(name) > 0);
    CHECK_STR(text, "worker\n");
    snprintf(name, sizeof(name), "/proc/%d/status", tid);
    CHECK(slurp(name) > 0);
    CHECK(strstr(text, "Name:\tworker\n"));
    snprintf(name, sizeof(name), "/proc/self/task/%d/stat", tid);
    CHECK(slurp(name) > 0);
    CHECK_EQ(atoi(text), tid);
    CHECK_EQ(atoi(status_of(getpid(), "\nThreads")), 2);
    snprintf(name, sizeof(name), "/proc/self/task/%d/comm", 1 << 22);
    CHECK_ERR(open(name, O_RDONLY), ENOENT);
    pthread_cancel(th);
    pthread_join(th, NULL);
}

TEST(oom_score_adj)
{
    CHECK(slurp("/proc/self/oom_score_adj") > 0);
    int now = atoi(text), fd = open("/proc/self/oom_score_adj", O_RDWR);
    char buf[16];
    CHECK_OK(fd);
    snprintf(buf, sizeof(buf), "%d", now < 1000 ? now + 1 : now);
    CHECK_EQ(write(fd, buf, strlen(buf)), strlen(buf));
    CHECK(slurp("/proc/self/oom_score_adj") > 0);
    CHECK_EQ(atoi(text), atoi(buf));
    CHECK_ERR(write(fd, "1001", 4), EINVAL);
    CHECK_ERR(write(fd, "x", 1), EINVAL);
    close(fd);
    CHECK(slurp("/proc/self/oom_score") > 0);
}

static bool write_loginuid(pid_t pid, const char *uid)
{
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "/proc/%d/loginuid", pid);
    fd = open(name, O_WRONLY);
    ssize_t n = fd < 0 ? -1 : write(fd, uid, strlen(uid));
    int err = errno;
    close(fd);
    errno = err;
    return n == (ssize_t)strlen(uid);
}

static void child_of_a_login(void)
{
    CHECK(slurp("/proc/self/loginuid") > 0);
    CHECK(strcmp(text, "77") == 0);
    CHECK(slurp("/proc/self/sessionid") > 0);
    CHECK(strcmp(text, "4294967295") != 0);
    if (geteuid() == 0) {
        CHECK_OK(setresuid(1000, 1000, 1000));
        CHECK(!write_loginuid(getpid(), "78"));
    }
}

static void login(void)
{
    int status;

    CHECK(!write_loginuid(getppid(), "77"));
    CHECK_EQ(errno, EPERM);
    CHECK(!write_loginuid(getpid(), "x"));
    CHECK_EQ(errno, EINVAL);
    CHECK(write_loginuid(getpid(), "77"));
    pid_t pid = fork();
    if (pid == 0) {
        child_of_a_login();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* What pam_loginuid does: once without any privilege, for oneself alone, and children have it. */
TEST(loginuid)
{
    int status;

    if (slurp("/proc/self/loginuid") < 0 || strcmp(text, "4294967295") != 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        login();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK(slurp("/proc/self/loginuid") > 0);
    CHECK(strcmp(text, "4294967295") == 0);
}

TEST(small_files_can_be_read)
{
    static const char *const names[] = {"statm",  "io",         "cgroup",    "uid_map", "gid_map",     "setgroups", "mountinfo",
                                        "mounts", "mountstats", "schedstat", "wchan",   "personality", "oom_adj"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "/proc/self/%s", names[i]);
        if (slurp(name) <= 0)
            guest_test_fail(__FILE__, __LINE__, "%s: %s", name, strerror(errno));
    }
}

TEST(namespaces)
{
    static const char *const names[] = {"ipc", "mnt", "net", "pid", "user", "uts"};
    char name[64], buf[64], want[64];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat st;
        snprintf(name, sizeof(name), "/proc/self/ns/%s", names[i]);
        ssize_t n = readlink(name, buf, sizeof(buf) - 1);
        CHECK(n > 0);
        buf[n] = 0;
        CHECK_OK(stat(name, &st));
        snprintf(want, sizeof(want), "%s:[%lu]", names[i], (unsigned long)st.st_ino);
        CHECK_STR(buf, want);
        int fd = open(name, O_RDONLY);
        CHECK_OK(fd);
        close(fd);
    }
}

TEST(a_stranger_may_not_look_inside)
{
    if (getuid() != 0)
        SKIP("not root");
    char name[64];
    int status;
    pid_t victim = fork();
    if (victim == 0) {
        pause();
        _exit(0);
    }
    pid_t pid = fork();
    if (pid == 0) {
        static const char *const secret[] = {"mem", "environ", "maps", "auxv", "io"};
        if (setgid(65534) || setuid(65534))
            _exit(2);
        for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++) {
            snprintf(name, sizeof(name), "/proc/%d/%s", victim, secret[i]);
            errno = 0;
            if (open(name, O_RDONLY) >= 0 || errno != EACCES)
                _exit(10 + i);
        }
        snprintf(name, sizeof(name), "/proc/%d/fd", victim);
        if (opendir(name) || errno != EACCES)
            _exit(20);
        snprintf(name, sizeof(name), "/proc/%d/exe", victim);
        if (readlink(name, text, sizeof(text)) >= 0 || errno != EACCES)
            _exit(21);
        snprintf(name, sizeof(name), "/proc/%d/status", victim);
        if (open(name, O_RDONLY) < 0)
            _exit(22);
        if (open("/proc/self/fd/0", O_PATH) < 0)
            _exit(23);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST_MAIN()
