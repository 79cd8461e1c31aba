/* memfd_create and seals. */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/mman.h>

TEST(seals_stop_what_they_name)
{
    char buf[8], path[64], link[128];
    void *p;
    int fd;
    CHECK_OK(fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    CHECK_EQ(write(fd, "12345678", 8), 8);
    CHECK_EQ(fcntl(fd, F_GET_SEALS), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, link, sizeof(link) - 1);
    CHECK(n > 0);
    link[n] = 0;
    CHECK_STR(link, "/memfd:test (deleted)");
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    CHECK_ERR(ftruncate(fd, 100), EPERM);
    CHECK_ERR(pwrite(fd, "x", 1, 8), EPERM);
    CHECK_EQ(pwrite(fd, "x", 1, 7), 1);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    CHECK_ERR(ftruncate(fd, 1), EPERM);
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    CHECK_OK(munmap(p, 4096));
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    CHECK_ERR(pwrite(fd, "x", 1, 0), EPERM);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK_EQ(errno, EPERM);
    p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED);
    CHECK_EQ(memcmp(p, "1234567x", 8), 0);
    CHECK_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), EPERM);
    CHECK_EQ(pread(fd, buf, 8, 0), 8);
    close(fd);
    CHECK_OK(fd = memfd_create("plain", 0));
    CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    CHECK_ERR(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    close(fd);
    CHECK_ERR(memfd_create("x", 0x4000), EINVAL);
}

TEST(mappings_of_a_memfd_share_pages)
{
    int fd;
    CHECK_OK(fd = memfd_create("shared", 0));
    CHECK_OK(ftruncate(fd, 8192));
    char *a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *b = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096);
    CHECK(a != MAP_FAILED && b != MAP_FAILED);
    a[4096] = 'x';
    CHECK_EQ(b[0], 'x');
    CHECK_EQ(pwrite(fd, "y", 1, 4096), 1);
    CHECK_EQ(a[4096], 'y');
    char c;
    a[1] = 'z';
    CHECK_EQ(pread(fd, &c, 1, 1), 1);
    CHECK_EQ(c, 'z');
    close(fd);
}
TEST_MAIN()
