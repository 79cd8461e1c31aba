/* Device nodes: null, zero, full, random, and what an unknown number does. */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

TEST(null_swallows_and_gives_end_of_file)
{
    char buf[16];
    int fd = open("/dev/null", O_RDWR);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "hello", 5), 5);
    CHECK_EQ(read(fd, buf, sizeof(buf)), 0);
    CHECK_EQ(lseek(fd, 100, SEEK_SET), 0);
    CHECK_EQ(pread(fd, buf, 4, 1000), 0);
    CHECK_ERR(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0), ENODEV);
    close(fd);
}

TEST(null_can_be_opened_with_truncation_and_append)
{
    int fd = open("/dev/null", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "x", 1), 1);
    close(fd);
}

TEST(nodes_have_linux_numbers)
{
    static const struct {
        const char *name;
        unsigned int ma, mi;
    } nodes[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                 {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        struct stat st;
        CHECK_OK(stat(nodes[i].name, &st));
        CHECK(S_ISCHR(st.st_mode));
        CHECK_EQ(major(st.st_rdev), nodes[i].ma);
        CHECK_EQ(minor(st.st_rdev), nodes[i].mi);
        CHECK_EQ(st.st_mode & 0666, 0666);
    }
}

TEST(zero_reads_zeros_of_any_size)
{
    static char buf[300000];
    int fd = open("/dev/zero", O_RDWR);
    CHECK_OK(fd);
    for (size_t n = 1; n <= sizeof(buf); n = n * 7 + 1) {
        memset(buf, 0x55, sizeof(buf));
        CHECK_EQ(read(fd, buf, n), n);
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(buf[i], 0);
        CHECK(n == sizeof(buf) || buf[n] == 0x55);
    }
    CHECK_EQ(write(fd, buf, 1000), 1000);
    close(fd);
}

TEST(zero_maps_as_anonymous_memory)
{
    int fd = open("/dev/zero", O_RDWR);
    CHECK_OK(fd);
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED);
    CHECK_EQ(p[5000], 0);
    p[5000] = 1;
    char *q = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(q != MAP_FAILED);
    CHECK_EQ(q[5000], 0);
    pid_t pid = fork();
    if (pid == 0) {
        q[5000] = 42;
        p[5000] = 43;
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(q[5000], 42);
    CHECK_EQ(p[5000], 1);
    munmap(p, 8192);
    munmap(q, 8192);
    close(fd);
}

TEST(full_reads_zeros_and_refuses_writes)
{
    char c = 1;
    int fd = open("/dev/full", O_RDWR);
    CHECK_OK(fd);
    CHECK_EQ(read(fd, &c, 1), 1);
    CHECK_EQ(c, 0);
    CHECK_ERR(write(fd, "x", 1), ENOSPC);
    close(fd);
}

TEST(random_devices_give_different_bytes)
{
    const char *names[] = {"/dev/random", "/dev/urandom"};
    for (int i = 0; i < 2; i++) {
        char a[64], b[64];
        static char big[5000];
        int fd = open(names[i], O_RDWR);
        CHECK_OK(fd);
        CHECK_EQ(read(fd, a, sizeof(a)), 64);
        CHECK_EQ(read(fd, b, sizeof(b)), 64);
        CHECK(memcmp(a, b, 64) != 0);
        CHECK_EQ(read(fd, big, sizeof(big)), sizeof(big));
        CHECK_EQ(write(fd, "seed", 4), 4);
        close(fd);
    }
}

TEST(a_node_of_a_known_number_works_anywhere)
{
    char path[] = "/tmp/dev_testXXXXXX", node[64], c = 1;
    CHECK(mkdtemp(path));
    snprintf(node, sizeof(node), "%s/zero", path);
    if (mknod(node, S_IFCHR | 0600, makedev(1, 5)) < 0) {
        rmdir(path);
        SKIP("no permission for mknod");
    }
    int fd = open(node, O_RDONLY);
    if (fd >= 0) {
        CHECK_EQ(read(fd, &c, 1), 1);
        CHECK_EQ(c, 0);
        close(fd);
    } else {
        CHECK_EQ(errno, EACCES); /* mounted nodev */
    }
    unlink(node);
    CHECK_OK(mknod(node, S_IFCHR | 0600, makedev(250, 77)));
    fd = open(node, O_RDONLY);
    CHECK(fd < 0 && (errno == ENXIO || errno == EACCES));
    unlink(node);
    rmdir(path);
}

TEST(dev_fd_leads_to_descriptors)
{
    int p[2];
    char name[32], c;
    CHECK_OK(pipe(p));
    snprintf(name, sizeof(name), "/dev/fd/%d", p[1]);
    int fd = open(name, O_WRONLY);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "x", 1), 1);
    CHECK_EQ(read(p[0], &c, 1), 1);
    CHECK_EQ(c, 'x');
    close(fd);
    close(p[0]);
    close(p[1]);
}

TEST(tty_without_a_terminal_is_enxio)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        setsid();
        errno = 0;
        _exit(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST_MAIN()
