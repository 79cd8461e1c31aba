/* sendfile(2): from a file to a socket, a pipe, a file; positions and errors. */
#include "guest_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void *volatile bad_pointer = (void *)8;

static int temp_file(size_t size)
{
    char name[] = "/tmp/guest-sendfile-XXXXXX", *buf = malloc(size);
    int fd = mkstemp(name);

    CHECK_OK(fd);
    unlink(name);
    for (size_t i = 0; i < size; i++)
        buf[i] = (char)(i * 31 + i / 255);
    CHECK_EQ(write(fd, buf, size), size);
    lseek(fd, 0, SEEK_SET);
    free(buf);
    return fd;
}

TEST(positions)
{
    int in = temp_file(100), s[2];
    char buf[200];
    off_t off = 90;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(sendfile(s[0], in, &off, 50), 10);
    CHECK_EQ(off, 100);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), 0);
    CHECK_EQ(sendfile(s[0], in, NULL, 60), 60);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), 60);
    CHECK_EQ(sendfile(s[0], in, NULL, 60), 40);
    CHECK_EQ(sendfile(s[0], in, NULL, 60), 0);
    CHECK_EQ(recv(s[1], buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT), 110);
    close(in);
    close(s[0]);
    close(s[1]);
}

TEST(errors)
{
    int in = temp_file(10), s[2], w = open("/dev/null", O_WRONLY);
    off_t neg = -1;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_ERR(sendfile(s[0], -1, NULL, 1), EBADF);
    CHECK_ERR(sendfile(-1, in, NULL, 1), EBADF);
    CHECK_ERR(sendfile(s[0], w, NULL, 1), EBADF);
    CHECK_ERR(sendfile(s[0], s[1], NULL, 1), EINVAL);
    CHECK_ERR(sendfile(s[0], in, &neg, 1), EINVAL);
    CHECK_ERR(sendfile(s[0], in, bad_pointer, 1), EFAULT);
    close(in);
    close(w);
    close(s[0]);
    close(s[1]);
}

struct drain {
    int fd;
    size_t n;
    bool good;
};

static void *drain(void *arg)
{
    struct drain *d = arg;
    unsigned char buf[5000];
    size_t at = 0;
    ssize_t r;

    d->good = true;
    while (at < d->n && (r = read(d->fd, buf, sizeof(buf))) > 0)
        for (ssize_t i = 0; i < r; i++, at++)
            d->good &= buf[i] == (unsigned char)(at * 31 + at / 255);
    d->good &= at == d->n;
    return NULL;
}

TEST(large_through_a_socket)
{
    size_t n = 3 << 20;
    struct drain d = {.n = n};
    int in = temp_file(n), s[2];
    pthread_t th;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    d.fd = s[1];
    CHECK_EQ(pthread_create(&th, NULL, drain, &d), 0);
    for (size_t done = 0; done < n;) {
        ssize_t r = sendfile(s[0], in, NULL, n - done);
        CHECK(r > 0);
        done += (size_t)r;
    }
    pthread_join(th, NULL);
    CHECK(d.good);
    close(in);
    close(s[0]);
    close(s[1]);
}

TEST(nonblocking_output_stops_short)
{
    int in = temp_file(4 << 20), s[2];
    ssize_t n;

    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s));
    n = sendfile(s[0], in, NULL, 4 << 20);
    CHECK(n > 0 && n < 4 << 20);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), n);
    CHECK_ERR(sendfile(s[0], in, NULL, 1), EAGAIN);
    CHECK_EQ(lseek(in, 0, SEEK_CUR), n);
    close(in);
    close(s[0]);
    close(s[1]);
}

TEST(to_a_pipe_and_to_a_file)
{
    int in = temp_file(1000), p[2], out = temp_file(10);
    char buf[1000];
    struct stat st;

    CHECK_OK(pipe(p));
    CHECK_EQ(sendfile(p[1], in, NULL, 1000), 1000);
    CHECK_EQ(read(p[0], buf, sizeof(buf)), 1000);
    lseek(in, 0, SEEK_SET);
    lseek(out, 5, SEEK_SET);
    CHECK_EQ(sendfile(out, in, NULL, 1000), 1000);
    CHECK_EQ(lseek(out, 0, SEEK_CUR), 1005);
    CHECK_OK(fstat(out, &st));
    CHECK_EQ(st.st_size, 1005);
    close(in);
    close(out);
    close(p[0]);
    close(p[1]);
}

TEST_MAIN()
