/* io_setup(2) and its kin, without libaio. */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

static long setup(unsigned int n, aio_context_t *c)
{
    return syscall(SYS_io_setup, n, c);
}

static long submit(aio_context_t c, long n, struct iocb **p)
{
    return syscall(SYS_io_submit, c, n, p);
}

static long get(aio_context_t c, long min, long max, struct io_event *ev, struct timespec *ts)
{
    return syscall(SYS_io_getevents, c, min, max, ev, ts);
}

static struct iocb request(int op, int fd, void *buf, size_t n, long off)
{
    return (struct iocb){.aio_data = 7,
                         .aio_lio_opcode = (uint16_t)op,
                         .aio_fildes = (uint32_t)fd,
                         .aio_buf = (uint64_t)(uintptr_t)buf,
                         .aio_nbytes = n,
                         .aio_offset = off};
}

static int temp_file(void)
{
    char name[] = "/tmp/guest-aio-XXXXXX";
    int fd = mkstemp(name);

    CHECK_OK(fd);
    unlink(name);
    return fd;
}

TEST(writes_and_reads)
{
    aio_context_t c = 0;
    struct io_event ev[4];
    char in[8] = "";
    int fd = temp_file();
    struct iocb w = request(IOCB_CMD_PWRITE, fd, (void *)"hello", 5, 3), r = request(IOCB_CMD_PREAD, fd, in, 8, 4), *p;

    CHECK_OK(setup(8, &c));
    p = &w;
    CHECK_EQ(submit(c, 1, &p), 1);
    CHECK_EQ(get(c, 1, 4, ev, NULL), 1);
    CHECK_EQ(ev[0].res, 5);
    CHECK_EQ(ev[0].data, 7);
    CHECK_EQ(ev[0].obj, (uintptr_t)&w);
    p = &r;
    CHECK_EQ(submit(c, 1, &p), 1);
    CHECK_EQ(get(c, 1, 4, ev, NULL), 1);
    CHECK_EQ(ev[0].res, 4);
    CHECK_STR(in, "ello");
    CHECK_OK(syscall(SYS_io_destroy, c));
    CHECK_ERR(syscall(SYS_io_destroy, c), EINVAL);
    close(fd);
}

TEST(errors)
{
    struct timespec soon = {.tv_nsec = 1000000};
    aio_context_t c = 0, bad = 1;
    struct io_event ev;
    char buf[8];
    int fd = temp_file();
    struct iocb r = request(IOCB_CMD_PREAD, fd, buf, 8, 0), *p = &r;

    CHECK_ERR(setup(0, &c), EINVAL);
    CHECK_ERR(setup(1, &bad), EINVAL);
    CHECK_ERR(setup(1, NULL), EFAULT);
    CHECK_OK(setup(1, &c));
    CHECK_ERR(submit(0, 1, &p), EINVAL);
    CHECK_ERR(submit(c, -1, &p), EINVAL);
    CHECK_EQ(submit(c, 0, &p), 0);
    r.aio_fildes = 999;
    CHECK_ERR(submit(c, 1, &p), EBADF);
    r.aio_fildes = (uint32_t)fd;
    r.aio_lio_opcode = 99;
    CHECK_ERR(submit(c, 1, &p), EINVAL);
    p = NULL;
    CHECK_ERR(submit(c, 1, &p), EFAULT);
    CHECK_ERR(get(c, -1, 1, &ev, NULL), EINVAL);
    CHECK_ERR(get(c, 2, 1, &ev, NULL), EINVAL);
    CHECK_ERR(get(0, 1, 1, &ev, NULL), EINVAL);
    CHECK_EQ(get(c, 1, 1, &ev, &soon), 0);
    CHECK_OK(syscall(SYS_io_destroy, c));
    close(fd);
}

TEST(an_eventfd_is_told)
{
    aio_context_t c = 0;
    char buf[8];
    int fd = temp_file(), e = eventfd(0, EFD_NONBLOCK);
    struct iocb r = request(IOCB_CMD_PREAD, fd, buf, 8, 0), *p[2] = {&r, &r};
    uint64_t v = 0;

    r.aio_flags = IOCB_FLAG_RESFD;
    r.aio_resfd = (uint32_t)e;
    CHECK_OK(setup(4, &c));
    CHECK_EQ(submit(c, 2, p), 2);
    for (int i = 0; i < 100 && v < 2; i++) {
        uint64_t n;
        if (read(e, &n, 8) == 8)
            v += n;
        else
            usleep(10000);
    }
    CHECK_EQ(v, 2);
    CHECK_OK(syscall(SYS_io_destroy, c));
    close(fd);
    close(e);
}

TEST_MAIN()
