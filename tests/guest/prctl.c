/* prctl, arch_prctl, personality and the like. */
#include "tests/guest/guest_test.h"

#include <asm/prctl.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

TEST(name_is_cut_at_fifteen)
{
    char name[17] = {0}, comm[32] = {0};
    int fd;

    CHECK_OK(prctl(PR_SET_NAME, "a-name-that-is-too-long"));
    CHECK_OK(prctl(PR_GET_NAME, name));
    CHECK_STR(name, "a-name-that-is-");
    fd = open("/proc/self/comm", O_RDONLY);
    if (fd >= 0) {
        CHECK(read(fd, comm, sizeof(comm) - 1) > 0);
        CHECK_STR(comm, "a-name-that-is-\n");
        close(fd);
    }
    CHECK_ERR(prctl(PR_SET_NAME, (void *)8), EFAULT);
    CHECK_ERR(prctl(PR_GET_NAME, (void *)8), EFAULT);
}

TEST(dumpable)
{
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
    CHECK_OK(prctl(PR_SET_DUMPABLE, 0));
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
    CHECK_ERR(prctl(PR_SET_DUMPABLE, 2), EINVAL);
    CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
}

TEST(pdeathsig)
{
    int sig = -1;

    CHECK_OK(prctl(PR_SET_PDEATHSIG, SIGUSR2));
    CHECK_OK(prctl(PR_GET_PDEATHSIG, &sig));
    CHECK_EQ(sig, SIGUSR2);
    CHECK_ERR(prctl(PR_SET_PDEATHSIG, 99), EINVAL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_GET_PDEATHSIG, &sig);
        _exit(sig); /* not inherited */
    }
    int status;
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
    CHECK_OK(prctl(PR_SET_PDEATHSIG, 0));
}

TEST(no_new_privs_is_one_way_and_inherited)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            _exit(1);
        if (prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) != -1 || errno != EINVAL)
            _exit(2);
        pid_t p = fork();
        if (p == 0)
            _exit(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
        waitpid(p, &status, 0);
        _exit(status == 1 << 8 ? 0 : 3);
    }
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
    CHECK_ERR(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0), EINVAL);
}

TEST(timer_slack)
{
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 50000);
    CHECK_OK(prctl(PR_SET_TIMERSLACK, 12345));
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 12345);
    CHECK_OK(prctl(PR_SET_TIMERSLACK, 0));
    CHECK_EQ(prctl(PR_GET_TIMERSLACK), 50000);
}

TEST(subreaper_flag)
{
    int v = -1;

    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    CHECK_OK(prctl(PR_GET_CHILD_SUBREAPER, &v));
    CHECK_EQ(v, 1);
    CHECK_OK(prctl(PR_SET_CHILD_SUBREAPER, 0));
}

TEST(unknown_options_are_einval)
{
    CHECK_ERR(prctl(9999), EINVAL);
    CHECK_ERR(prctl(-1), EINVAL);
    CHECK_ERR(prctl(PR_SET_SECCOMP, 99), EINVAL);
    CHECK_EQ(prctl(PR_GET_SECCOMP), 0);
    CHECK_EQ(prctl(PR_GET_TIMING), PR_TIMING_STATISTICAL);
}

TEST(arch_prctl_bases)
{
    unsigned long fs = 0, gs = 0, old_gs;

    CHECK_EQ(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs), 0);
    CHECK(fs != 0);
    CHECK_EQ(syscall(SYS_arch_prctl, ARCH_GET_GS, &old_gs), 0);
    CHECK_EQ(syscall(SYS_arch_prctl, ARCH_SET_GS, &gs), 0);
    CHECK_EQ(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs), 0);
    CHECK_EQ(gs, (unsigned long)&gs);
    __asm__ volatile("mov %%gs:0, %0" : "=r"(fs));
    CHECK_EQ(fs, (unsigned long)&gs);
    CHECK_EQ(syscall(SYS_arch_prctl, ARCH_SET_GS, old_gs), 0);
    CHECK_ERR(syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000UL), EPERM);
    CHECK_ERR(syscall(SYS_arch_prctl, ARCH_GET_FS, (void *)8), EFAULT);
    CHECK_ERR(syscall(SYS_arch_prctl, 0x9999, 0), EINVAL);
}

TEST(personality_is_kept)
{
    int old = personality(0xffffffff);

    CHECK_EQ(personality((unsigned long)old | ADDR_NO_RANDOMIZE), old);
    CHECK_EQ(personality(0xffffffff), old | ADDR_NO_RANDOMIZE);
    CHECK_OK(personality((unsigned long)old));
}

TEST(uname_and_names)
{
    struct utsname u;

    CHECK_OK(uname(&u));
    CHECK_STR(u.sysname, "Linux");
    CHECK_STR(u.machine, "x86_64");
    CHECK(u.release[0] >= '4' && u.release[0] <= '9');
    CHECK_ERR(uname((void *)8), EFAULT);
}

static void *rename_self(void *arg)
{
    prctl(PR_SET_NAME, "other");
    return NULL;
}

TEST(names_are_per_thread)
{
    char name[16];
    pthread_t th;

    CHECK_OK(prctl(PR_SET_NAME, "mine"));
    pthread_create(&th, NULL, rename_self, NULL);
    pthread_join(th, NULL);
    CHECK_OK(prctl(PR_GET_NAME, name));
    CHECK_STR(name, "mine");
}

TEST(unshare_and_setns_errors)
{
    CHECK_ERR(unshare(0x1), EINVAL);
    CHECK_OK(unshare(0));
    CHECK_ERR(setns(-1, 0), EBADF);
}

TEST_MAIN()
