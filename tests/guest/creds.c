/* User, group and capability calls. Each test runs in a child, so that what it gives up stays there. */
#include "tests/guest/guest_test.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define WANT(cond)                     \
    do {                               \
        if (!(cond))                   \
            _exit(__LINE__ % 250 + 1); \
    } while (0)

static int run(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -status;
}

struct caps {
    struct __user_cap_header_struct h;
    struct __user_cap_data_struct d[2];
};

static unsigned long long get_caps(int which)
{
    struct caps c = {.h = {.version = _LINUX_CAPABILITY_VERSION_3}};
    unsigned int lo, hi;

    if (syscall(SYS_capget, &c.h, c.d))
        return ~0ULL;
    lo = which == 0 ? c.d[0].effective : which == 1 ? c.d[0].permitted : c.d[0].inheritable;
    hi = which == 0 ? c.d[1].effective : which == 1 ? c.d[1].permitted : c.d[1].inheritable;
    return (unsigned long long)hi << 32 | lo;
}

static int set_caps(unsigned long long e, unsigned long long p, unsigned long long i)
{
    struct caps c = {.h = {.version = _LINUX_CAPABILITY_VERSION_3},
                     .d = {{(unsigned int)e, (unsigned int)p, (unsigned int)i},
                           {(unsigned int)(e >> 32), (unsigned int)(p >> 32), (unsigned int)(i >> 32)}}};

    return (int)syscall(SYS_capset, &c.h, c.d);
}

static void setuid_drops_all(void)
{
    uid_t r, e, s;

    WANT(get_caps(0) & (1 << CAP_SETUID));
    WANT(setuid(1000) == 0);
    WANT(getresuid(&r, &e, &s) == 0 && r == 1000 && e == 1000 && s == 1000);
    WANT(get_caps(0) == 0 && get_caps(1) == 0);
    WANT(setuid(0) == -1 && errno == EPERM);
    WANT(setreuid(0, -1) == -1 && errno == EPERM);
    WANT(setresuid(-1, -1, 0) == -1 && errno == EPERM);
}

TEST(setuid_from_root_is_final)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(setuid_drops_all), 0);
}

static void saved_id(void)
{
    WANT(setresuid(1000, 1001, 0) == 0);
    WANT(get_caps(0) == 0 && get_caps(1) != 0); /* effective gone, permitted kept: saved id is root */
    WANT(geteuid() == 1001 && getuid() == 1000);
    WANT(setresuid(-1, 0, -1) == 0);
    WANT(get_caps(0) != 0);
    WANT(setresuid(1, 2, 3) == 0);
    WANT(setreuid(2, 1) == 0 && getuid() == 2 && geteuid() == 1);
    WANT(setreuid(4, -1) == -1 && errno == EPERM);
}

TEST(saved_ids_lead_back)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(saved_id), 0);
}

static void gids(void)
{
    gid_t r, e, s, list[4] = {30, 10, 20, 10};

    WANT(setgroups(4, list) == 0);
    memset(list, 0, sizeof(list));
    WANT(getgroups(0, NULL) == 4);
    WANT(getgroups(2, list) == -1 && errno == EINVAL);
    WANT(getgroups(4, list) == 4 && list[0] == 10 && list[1] == 10 && list[2] == 20 && list[3] == 30);
    WANT(setresgid(5, 6, 7) == 0 && getresgid(&r, &e, &s) == 0 && r == 5 && e == 6 && s == 7);
    WANT(setgid(8) == 0 && getgid() == 8 && getegid() == 8);
    WANT(setuid(1000) == 0);
    WANT(setgid(9) == -1 && errno == EPERM);
    WANT(setgid(8) == 0);
    WANT(setgroups(0, NULL) == -1 && errno == EPERM);
    WANT(getresgid((void *)8, &e, &s) == -1 && errno == EFAULT);
}

TEST(group_ids)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(gids), 0);
}

static void fsids(void)
{
    WANT(setfsuid(1000) == 0 && setfsuid(-1) == 1000);
    WANT(!(get_caps(0) & (1 << CAP_DAC_OVERRIDE)) && (get_caps(1) & (1 << CAP_DAC_OVERRIDE)));
    WANT(setfsuid(0) == 1000 && (get_caps(0) & (1 << CAP_DAC_OVERRIDE)));
    WANT(setfsgid(77) == (int)getegid() && setfsgid(-1) == 77);
    WANT(setresuid(1, 1, 1) == 0);
    WANT(setfsuid(500) == 1 && setfsuid(-1) == 1);
}

TEST(fs_ids_take_file_capabilities_with_them)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(fsids), 0);
}

static void keep(void)
{
    WANT(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
    unsigned long long p = get_caps(1);
    WANT(setuid(1000) == 0);
    WANT(get_caps(1) == p && get_caps(0) == 0);
    WANT(set_caps(p, p, 0) == 0 && get_caps(0) == p);
    WANT(set_caps(0, p, 0) == 0);
    WANT(setuid(5) == -1 && errno == EPERM);
    WANT(prctl(PR_SET_KEEPCAPS, 2, 0, 0, 0) == -1 && errno == EINVAL);
}

TEST(keepcaps)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(keep), 0);
}

static void capabilities(void)
{
    struct caps c = {.h = {.version = 0x12345678}};
    unsigned long long p = get_caps(1);

    WANT(syscall(SYS_capget, &c.h, c.d) == -1 && errno == EINVAL && c.h.version == _LINUX_CAPABILITY_VERSION_3);
    WANT(syscall(SYS_capget, (void *)8, c.d) == -1 && errno == EFAULT);
    c.h.version = _LINUX_CAPABILITY_VERSION_3;
    c.h.pid = -1;
    WANT(syscall(SYS_capget, &c.h, c.d) == -1 && errno == EINVAL);
    c.h.pid = 0x7ffffff;
    WANT(syscall(SYS_capget, &c.h, c.d) == -1 && errno == ESRCH);
    c.h.pid = getppid();
    WANT(getppid() == 0 || (syscall(SYS_capset, &c.h, c.d) == -1 && errno == EPERM));
    WANT(set_caps(0, p & ~(1ULL << CAP_KILL), 0) == 0);
    WANT(set_caps(0, p, 0) == -1 && errno == EPERM);
    WANT(set_caps(1ULL << CAP_KILL, p & ~(1ULL << CAP_KILL), 0) == -1 && errno == EPERM);
}

TEST(capget_and_capset)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(capabilities), 0);
}

static void ambient(void)
{
    unsigned long long p = get_caps(1);

    WANT(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) == -1 && errno == EPERM);
    WANT(set_caps(p, p, 1ULL << CAP_CHOWN) == 0);
    WANT(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) == 0);
    WANT(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0) == 1);
    WANT(set_caps(p, p, 0) == 0);
    WANT(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0) == 0);
    WANT(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 99, 0, 0) == -1 && errno == EINVAL);
    WANT(prctl(PR_CAPBSET_READ, CAP_CHOWN) == 1);
    WANT(prctl(PR_CAPBSET_READ, 99) == -1 && errno == EINVAL);
    if (get_caps(0) & (1 << CAP_SETPCAP)) {
        WANT(prctl(PR_CAPBSET_DROP, CAP_CHOWN) == 0);
        WANT(prctl(PR_CAPBSET_READ, CAP_CHOWN) == 0);
        WANT(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0);
        WANT(prctl(PR_GET_SECUREBITS) == SECBIT_NO_SETUID_FIXUP);
        WANT(setuid(1000) == 0 && get_caps(0) == p);
    }
}

TEST(ambient_bounding_and_securebits)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(ambient), 0);
}

static void answers(void)
{
    /* Ids that are asked for often may be answered without the kernel: they must follow each change at once. */
    for (int i = 1; i < 50; i++) {
        WANT(setresuid(-1, (uid_t)i, -1) == 0 && geteuid() == (uid_t)i && getuid() == 0);
        WANT(setresuid(-1, 0, -1) == 0 && geteuid() == 0);
        WANT(setresgid(-1, (gid_t)i, -1) == 0 && getegid() == (gid_t)i);
    }
}

TEST(answers_follow_changes)
{
    if (getuid())
        SKIP("needs root");
    CHECK_EQ(run(answers), 0);
}

TEST_MAIN()
