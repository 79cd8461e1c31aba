/* /sys, as far as libc, language runtimes and container tools read it. */
#include "guest_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/statfs.h>

static char text[4096];

static ssize_t slurp(const char *name)
{
    int fd = open(name, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = 0;
    return n;
}

TEST(is_sysfs)
{
    struct statfs sf;
    CHECK_OK(statfs("/sys", &sf));
    CHECK_EQ(sf.f_type, 0x62656572);
}

TEST(cpu_lists_agree_with_sysconf)
{
    int first, last = 0;
    CHECK(slurp("/sys/devices/system/cpu/online") > 0);
    if (sscanf(text, "%d-%d", &first, &last) < 2)
        last = first;
    CHECK_EQ(first, 0);
    CHECK_EQ(last + 1, sysconf(_SC_NPROCESSORS_ONLN));
    CHECK(slurp("/sys/devices/system/cpu/possible") > 0);
    CHECK(slurp("/sys/devices/system/cpu/present") > 0);
    CHECK(slurp("/sys/devices/system/cpu/kernel_max") > 0);
}

TEST(every_cpu_has_a_directory)
{
    int nr = 0;
    DIR *d = opendir("/sys/devices/system/cpu");
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        char c;
        int cpu;
        nr += sscanf(e->d_name, "cpu%d%c", &cpu, &c) == 1;
    }
    closedir(d);
    CHECK_EQ(nr, sysconf(_SC_NPROCESSORS_CONF));
    CHECK(slurp("/sys/devices/system/cpu/cpu0/topology/core_id") > 0);
    CHECK(slurp("/sys/devices/system/cpu/cpu0/topology/physical_package_id") > 0);
    CHECK(access("/sys/devices/system/cpu/cpu9999", F_OK) < 0);
}

TEST(transparent_huge_pages_mode_is_marked)
{
    if (slurp("/sys/kernel/mm/transparent_hugepage/enabled") < 0)
        SKIP("not there");
    CHECK(strchr(text, '[') && strchr(text, ']'));
}

TEST(cannot_be_written)
{
    CHECK(open("/sys/devices/system/cpu/online", O_WRONLY) < 0);
    CHECK(errno == EACCES || errno == EROFS);
    CHECK(open("/sys/made_up", O_CREAT | O_WRONLY, 0644) < 0);
}

TEST(loopback_interface)
{
    if (slurp("/sys/class/net/lo/mtu") < 0)
        SKIP("no network in sysfs");
    CHECK_EQ(atoi(text), 65536);
    CHECK(slurp("/sys/class/net/lo/type") > 0);
    CHECK_EQ(atoi(text), 772);
}

TEST_MAIN()
