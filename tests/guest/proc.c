/* Global files of /proc, as programs parse them. */
#include "guest_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
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

TEST(is_proc)
{
    struct statfs sf;
    struct stat st;
    CHECK_OK(statfs("/proc", &sf));
    CHECK_EQ(sf.f_type, 0x9fa0);
    CHECK_OK(stat("/proc", &st));
    CHECK_EQ(st.st_ino, 1);
}

TEST(self_is_the_caller)
{
    char buf[32];
    ssize_t n = readlink("/proc/self", buf, sizeof(buf));
    CHECK(n > 0);
    buf[n] = 0;
    CHECK_EQ(atoi(buf), getpid());
    n = readlink("/proc/thread-self", buf, sizeof(buf));
    CHECK(n > 0);
    buf[n] = 0;
    char want[64];
    snprintf(want, sizeof(want), "%d/task/%d", getpid(), getpid());
    CHECK_STR(buf, want);
}

TEST(meminfo_has_totals)
{
    unsigned long total, free_kb, available;
    CHECK(slurp("/proc/meminfo") > 0);
    CHECK_EQ(sscanf(text, "MemTotal: %lu kB\nMemFree: %lu kB\nMemAvailable: %lu kB", &total, &free_kb, &available), 3);
    CHECK(total >= free_kb && total > 0);
    CHECK(strstr(text, "\nSwapTotal: "));
    CHECK(strstr(text, "\nBuffers: "));
    CHECK(strstr(text, "\nCached: "));
}

TEST(cpuinfo_and_stat_agree_on_cpus)
{
    int in_info = 0, in_stat = 0, cpu;
    CHECK(slurp("/proc/cpuinfo") > 0);
    for (char *p = text; (p = strstr(p, "processor\t: ")); p++)
        in_info++;
    CHECK(strstr(text, "model name"));
    CHECK(strstr(text, "flags\t\t: fpu "));
    CHECK(slurp("/proc/stat") > 0);
    CHECK_EQ(strncmp(text, "cpu  ", 5), 0);
    for (char *p = text; (p = strstr(p, "\ncpu")); p++)
        in_stat += sscanf(p, "\ncpu%d", &cpu);
    CHECK_EQ(in_info, in_stat);
    CHECK_EQ(sysconf(_SC_NPROCESSORS_ONLN), in_stat);
    CHECK(strstr(text, "\nbtime "));
    CHECK(strstr(text, "\nprocs_running "));
    CHECK(strstr(text, "\nctxt "));
}

TEST(uptime_and_loadavg)
{
    double up, idle, l1, l2, l3;
    int running, total, last;
    CHECK(slurp("/proc/uptime") > 0);
    CHECK_EQ(sscanf(text, "%lf %lf", &up, &idle), 2);
    CHECK(up >= 0 && idle >= 0);
    CHECK(slurp("/proc/loadavg") > 0);
    CHECK_EQ(sscanf(text, "%lf %lf %lf %d/%d %d", &l1, &l2, &l3, &running, &total, &last), 6);
    CHECK(running >= 1 && total >= 1 && last >= 1);
}

TEST(version_agrees_with_uname)
{
    struct utsname u;
    uname(&u);
    CHECK(slurp("/proc/version") > 0);
    CHECK(strstr(text, u.release));
    CHECK(slurp("/proc/sys/kernel/osrelease") > 0);
    text[strcspn(text, "\n")] = 0;
    CHECK_STR(text, u.release);
    CHECK(slurp("/proc/sys/kernel/hostname") > 0);
    text[strcspn(text, "\n")] = 0;
    CHECK_STR(text, u.nodename);
}

TEST(filesystems_lists_the_basic_ones)
{
    CHECK(slurp("/proc/filesystems") > 0);
    CHECK(strstr(text, "nodev\tproc\n"));
    CHECK(strstr(text, "nodev\ttmpfs\n"));
}

TEST(global_tables_can_be_read)
{
    static const char *const names[] = {
        "/proc/devices", "/proc/interrupts", "/proc/swaps",    "/proc/vmstat",      "/proc/partitions",  "/proc/diskstats",
        "/proc/cmdline", "/proc/misc",       "/proc/locks",    "/proc/zoneinfo",    "/proc/net/dev",     "/proc/net/route",
        "/proc/net/tcp", "/proc/net/udp",    "/proc/net/unix", "/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (slurp(names[i]) < 0)
            guest_test_fail(__FILE__, __LINE__, "%s: %s", names[i], strerror(errno));
}

TEST(net_dev_has_the_loopback)
{
    CHECK(slurp("/proc/net/dev") > 0);
    CHECK(strstr(text, "    lo:"));
}

TEST(sysctls_have_sane_values)
{
    static const struct {
        const char *name;
        long min, max;
    } rows[] = {
        {"kernel/pid_max", 301, 4194304},
        {"kernel/threads-max", 1, 1L << 30},
        {"kernel/cap_last_cap", 36, 63},
        {"kernel/ngroups_max", 65536, 65536},
        {"kernel/overflowuid", 65534, 65534},
        {"vm/overcommit_memory", 0, 2},
        {"vm/max_map_count", 1024, 1L << 30},
        {"vm/mmap_min_addr", 0, 65536},
        {"fs/nr_open", 1024, 1L << 30},
        {"fs/pipe-max-size", 4096, 1L << 31},
        {"net/core/somaxconn", 128, 65535},
        {"kernel/randomize_va_space", 0, 2},
        {"fs/inotify/max_user_watches", 1, 1L << 31},
        {"kernel/msgmax", 1, 1L << 31},
        {"kernel/shmmni", 1, 1L << 31},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char name[100];
        snprintf(name, sizeof(name), "/proc/sys/%s", rows[i].name);
        if (slurp(name) <= 0)
            guest_test_fail(__FILE__, __LINE__, "%s: %s", name, strerror(errno));
        long v = atol(text);
        if (v < rows[i].min || v > rows[i].max)
            guest_test_fail(__FILE__, __LINE__, "%s is %ld", name, v);
    }
    int a, b, c, d;
    CHECK(slurp("/proc/sys/kernel/sem") > 0);
    CHECK_EQ(sscanf(text, "%d\t%d\t%d\t%d\n", &a, &b, &c, &d), 4);
}

TEST(boot_id_is_fixed_and_uuid_is_not)
{
    char first[64];
    CHECK_EQ(slurp("/proc/sys/kernel/random/boot_id"), 37);
    strcpy(first, text);
    CHECK_EQ(slurp("/proc/sys/kernel/random/boot_id"), 37);
    CHECK_STR(text, first);
    CHECK_EQ(slurp("/proc/sys/kernel/random/uuid"), 37);
    strcpy(first, text);
    CHECK_EQ(slurp("/proc/sys/kernel/random/uuid"), 37);
    CHECK(strcmp(text, first) != 0);
}

TEST(reads_in_pieces_give_the_same_text)
{
    static char pieces[1 << 16];
    size_t n = 0;
    CHECK(slurp("/proc/cpuinfo") > 0);
    int fd = open("/proc/cpuinfo", O_RDONLY);
    CHECK_OK(fd);
    for (ssize_t r; (r = read(fd, pieces + n, 7)) > 0;)
        n += r;
    pieces[n] = 0;
    CHECK_EQ(n, strlen(text));
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(read(fd, pieces, 9), 9);
    CHECK_EQ(memcmp(pieces, "processor", 9), 0);
    close(fd);
}

TEST(seeking_back_makes_the_text_anew)
{
    char a[64] = "", b[64] = "";
    int fd = open("/proc/uptime", O_RDONLY);
    CHECK_OK(fd);
    CHECK(read(fd, a, sizeof(a) - 1) > 0);
    CHECK_EQ(read(fd, b, sizeof(b)), 0);
    usleep(30000);
    CHECK(pread(fd, b, sizeof(b) - 1, 0) > 0);
    CHECK(strcmp(a, b) != 0);
    close(fd);
}

TEST(lists_processes)
{
    DIR *d = opendir("/proc");
    bool self = false, meminfo = false, one = false;
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (atoi(e->d_name) == getpid()) {
            self = true;
            CHECK_EQ(e->d_type, DT_DIR);
        }
        one |= strcmp(e->d_name, "1") == 0;
        meminfo |= strcmp(e->d_name, "meminfo") == 0;
    }
    closedir(d);
    CHECK(self);
    CHECK(one);
    CHECK(meminfo);
}

TEST(processes_disappear_when_reaped)
{
    char name[64];
    struct stat st;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    snprintf(name, sizeof(name), "/proc/%d", pid);
    CHECK_OK(stat(name, &st));
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_ERR(stat(name, &st), ENOENT);
}

TEST(missing_names_are_enoent_and_nothing_can_be_made)
{
    struct stat st;
    CHECK_ERR(stat("/proc/nothing", &st), ENOENT);
    CHECK_ERR(stat("/proc/0", &st), ENOENT);
    CHECK_ERR(stat("/proc/01", &st), ENOENT);
    CHECK_ERR(stat("/proc/self/nothing", &st), ENOENT);
    CHECK(open("/proc/made_up", O_CREAT | O_WRONLY, 0644) < 0);
    CHECK(mkdir("/proc/made_up", 0755) < 0);
    CHECK(unlink("/proc/meminfo") < 0);
}

TEST(mounts_shows_proc)
{
    CHECK(slurp("/proc/mounts") > 0);
    CHECK(strstr(text, " /proc proc "));
    CHECK(slurp("/proc/self/mountinfo") > 0);
    CHECK(strstr(text, " /proc "));
    CHECK(strstr(text, " - proc "));
}

TEST_MAIN()
