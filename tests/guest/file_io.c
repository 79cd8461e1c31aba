/* Reading and writing files: positions, holes, append, vectors, truncation, fallocate, limits. */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>

static char name[] = "/tmp/file-XXXXXX";

static int fresh_file(void)
{
    int fd;
    strcpy(name, "/tmp/file-XXXXXX");
    CHECK_OK(fd = mkstemp(name));
    return fd;
}

TEST(positions_advance_and_positioned_calls_leave_them)
{
    char buf[8], *volatile bad = (char *)8;
    int fd = fresh_file();
    CHECK_EQ(write(fd, "hello", 5), 5);
    CHECK_EQ(pwrite(fd, "J", 1, 0), 1);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
    CHECK_EQ(pread(fd, buf, 8, 1), 4);
    CHECK_EQ(lseek(fd, -2, SEEK_END), 3);
    CHECK_EQ(read(fd, buf, 8), 2);
    CHECK_EQ(read(fd, buf, 8), 0);
    CHECK_ERR(lseek(fd, -1, SEEK_SET), EINVAL);
    CHECK_ERR(lseek(fd, 0, 99), EINVAL);
    CHECK_ERR(pread(fd, buf, 1, -1), EINVAL);
    CHECK_OK(lseek(fd, 0, SEEK_SET));
    CHECK_ERR(read(fd, bad, 4), EFAULT);
    CHECK_ERR(write(fd, bad, 4), EFAULT);
}

TEST(holes_read_as_zeroes_and_are_found)
{
    char buf[16];
    struct stat st;
    int fd = fresh_file();
    CHECK_EQ(pwrite(fd, "x", 1, 1 << 20), 1);
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, (1 << 20) + 1);
    CHECK(st.st_blocks * 512 < 1 << 20);
    CHECK_EQ(pread(fd, buf, sizeof(buf), 4096), sizeof(buf));
    for (size_t i = 0; i < sizeof(buf); i++)
        CHECK_EQ(buf[i], 0);
    CHECK_EQ(lseek(fd, 0, SEEK_DATA), 1 << 20);
    CHECK_EQ(lseek(fd, 0, SEEK_HOLE), 0);
    CHECK_EQ(lseek(fd, 1 << 20, SEEK_HOLE), (1 << 20) + 1);
    CHECK_ERR(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
    close(fd);
}

TEST(append_goes_to_the_end_whoever_moved_it)
{
    char buf[16];
    int a, b = fresh_file();
    CHECK_OK(a = open(name, O_WRONLY | O_APPEND));
    CHECK_EQ(write(b, "one", 3), 3);
    CHECK_EQ(write(a, "two", 3), 3);
    CHECK_EQ(lseek(a, 0, SEEK_CUR), 6);
    CHECK_EQ(pread(b, buf, 16, 0), 6);
    CHECK_EQ(memcmp(buf, "onetwo", 6), 0);
    CHECK_EQ(fcntl(a, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    CHECK_ERR(read(a, buf, 1), EBADF);
    close(a);
    close(b);
}

TEST(vectors_are_written_and_read_in_order)
{
    char a[3], b[5];
    int fd = fresh_file();
    struct iovec out[] = {{"abc", 3}, {NULL, 0}, {"defgh", 5}}, in[] = {{a, 3}, {b, 5}};
    CHECK_EQ(writev(fd, out, 3), 8);
    CHECK_EQ(preadv(fd, in, 2, 0), 8);
    CHECK_EQ(memcmp(b, "defgh", 5), 0);
    CHECK_ERR(readv(fd, in, -1), EINVAL);
    CHECK_ERR(preadv(fd, in, 2, -1), EINVAL);
    struct iovec huge[] = {{a, (size_t)-1}};
    CHECK_ERR(writev(fd, huge, 1), EINVAL);
    CHECK_ERR(pwritev2(fd, out, 3, 0, 0x8000), EOPNOTSUPP);
    CHECK_EQ(pwritev2(fd, out, 3, 0, RWF_APPEND), 8);
    struct stat st;
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 16);
    close(fd);
}

TEST(truncation_cuts_extends_and_zeroes)
{
    char buf[8];
    int fd = fresh_file();
    CHECK_EQ(write(fd, "abcdefgh", 8), 8);
    CHECK_OK(ftruncate(fd, 3));
    CHECK_OK(ftruncate(fd, 8));
    CHECK_EQ(pread(fd, buf, 8, 0), 8);
    CHECK_EQ(memcmp(buf, "abc\0\0\0\0\0", 8), 0);
    CHECK_ERR(ftruncate(fd, -1), EINVAL);
    CHECK_ERR(truncate("/tmp", 0), EISDIR);
    close(fd);
    CHECK_OK(fd = open(name, O_RDONLY));
    CHECK_ERR(ftruncate(fd, 0), EINVAL);
    close(fd);
}

TEST(fallocate_makes_room_and_holes)
{
    char buf[4096];
    struct stat st;
    int fd = fresh_file();
    memset(buf, 1, sizeof(buf));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
    CHECK_OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096 + 100, 8192));
    CHECK_EQ(pread(fd, buf, 200, 4096), 200);
    CHECK_EQ(buf[99], 1);
    CHECK_EQ(buf[100], 0);
    CHECK_EQ(pread(fd, buf, 200, 12288), 200);
    CHECK_EQ(buf[99], 0);
    CHECK_EQ(buf[100], 1);
    CHECK_OK(fallocate(fd, 0, 0, 65536));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 65536);
    CHECK_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 131072));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_size, 65536);
    CHECK_ERR(fallocate(fd, 0, -1, 1), EINVAL);
    CHECK_ERR(fallocate(fd, 0, 0, 0), EINVAL);
    CHECK_ERR(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1), EOPNOTSUPP);
    close(fd);
}

static volatile sig_atomic_t xfsz;
static void on_xfsz(int signo)
{
    xfsz++;
}

TEST(the_file_size_limit_stops_writes_with_a_signal)
{
    struct rlimit old, small;
    char buf[100] = {0};
    int fd = fresh_file();
    signal(SIGXFSZ, on_xfsz);
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &old));
    small = (struct rlimit){150, old.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &small));
    CHECK_EQ(write(fd, buf, 100), 100);
    CHECK_EQ(write(fd, buf, 100), 50);
    CHECK_EQ(xfsz, 0);
    ssize_t r = write(fd, buf, 100);
    int err = errno;
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &old));
    CHECK_EQ(r, -1);
    CHECK_EQ(err, EFBIG);
    CHECK_EQ(xfsz, 1);
    close(fd);
}

TEST(writes_take_set_id_bits_off_for_the_unprivileged)
{
    struct stat st;
    int fd = fresh_file();
    if (geteuid() != 0)
        SKIP("needs root");
    CHECK_OK(fchown(fd, 1000, 1000));
    CHECK_OK(fchmod(fd, 06755));
    CHECK_OK(seteuid(1000));
    ssize_t r = write(fd, "x", 1);
    CHECK_OK(seteuid(0));
    CHECK_EQ(r, 1);
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_mode & 07777, 0755);
    CHECK_OK(fchmod(fd, 06755));
    CHECK_OK(fchown(fd, 1001, -1));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_mode & 07777, 0755);
    close(fd);
}
TEST_MAIN()
