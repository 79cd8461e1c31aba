/* /proc/PID/fd and fdinfo: links to open files that can be read, followed and opened. */
#include "guest_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char link_text[4096];

static const char *fd_link(int fd)
{
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, link_text, sizeof(link_text) - 1);
    link_text[n < 0 ? 0 : n] = 0;
    return link_text;
}

TEST(links_name_the_files)
{
    int p[2], s[2];
    int fd = open("/dev/null", O_RDONLY);
    CHECK_STR(fd_link(fd), "/dev/null");
    close(fd);
    CHECK_OK(pipe(p));
    CHECK_EQ(strncmp(fd_link(p[0]), "pipe:[", 6), 0);
    char first[64];
    strcpy(first, link_text);
    CHECK_STR(fd_link(p[1]), first);
    struct stat st;
    CHECK_OK(fstat(p[0], &st));
    CHECK_EQ(atol(first + 6), st.st_ino);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    CHECK_EQ(strncmp(fd_link(s[0]), "socket:[", 8), 0);
    int e = eventfd(0, 0);
    CHECK_STR(fd_link(e), "anon_inode:[eventfd]");
    close(e);
    for (int i = 0; i < 2; i++) {
        close(p[i]);
        close(s[i]);
    }
}

TEST(deleted_files_say_so)
{
    char name[] = "/tmp/proc_fdXXXXXX", want[64];
    int fd = mkstemp(name);
    CHECK_OK(fd);
    CHECK_STR(fd_link(fd), name);
    unlink(name);
    snprintf(want, sizeof(want), "%s (deleted)", name);
    CHECK_STR(fd_link(fd), want);
    close(fd);
}

TEST(a_deleted_file_can_be_opened_again)
{
    char name[] = "/tmp/proc_fdXXXXXX", proc[64], c;
    int fd = mkstemp(name);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "z", 1), 1);
    unlink(name);
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    int again = open(proc, O_RDONLY);
    CHECK_OK(again);
    CHECK_EQ(read(again, &c, 1), 1);
    CHECK_EQ(c, 'z');
    CHECK_ERR(write(again, "x", 1), EBADF);
    close(again);
    close(fd);
}

TEST(permissions_show_the_open_mode)
{
    struct stat st;
    char name[64];
    int r = open("/dev/null", O_RDONLY), w = open("/dev/null", O_WRONLY), b = open("/dev/null", O_RDWR);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", r);
    CHECK_OK(lstat(name, &st));
    CHECK(S_ISLNK(st.st_mode));
    CHECK_EQ(st.st_mode & 0777, 0500);
    CHECK_EQ(st.st_size, 64);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", w);
    CHECK_OK(lstat(name, &st));
    CHECK_EQ(st.st_mode & 0777, 0300);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", b);
    CHECK_OK(lstat(name, &st));
    CHECK_EQ(st.st_mode & 0777, 0700);
    close(r);
    close(w);
    close(b);
}

TEST(the_directory_lists_just_what_is_open)
{
    DIR *d = opendir("/proc/self/fd");
    bool seen[3] = {false};
    int extra = dup(0), nr = 0, found = 0;
    CHECK(d);
    CHECK_OK(extra);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        int fd = atoi(e->d_name);
        CHECK_EQ(e->d_type, DT_LNK);
        if (fd < 3)
            seen[fd] = true;
        found += fd == extra;
        CHECK_OK(fcntl(fd, F_GETFD));
        nr++;
    }
    closedir(d);
    close(extra);
    CHECK(seen[0] && seen[1] && seen[2] && found == 1 && nr >= 5);
}

TEST(closed_descriptors_have_no_link)
{
    char name[64];
    struct stat st;
    int fd = dup(0);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    CHECK_OK(lstat(name, &st));
    close(fd);
    CHECK_ERR(lstat(name, &st), ENOENT);
    CHECK_ERR(lstat("/proc/self/fd/00", &st), ENOENT);
    CHECK_ERR(lstat("/proc/self/fd/-1", &st), ENOENT);
}

TEST(a_pipe_can_be_opened_through_its_link)
{
    int p[2];
    char name[64], c = 0;
    CHECK_OK(pipe(p));
    snprintf(name, sizeof(name), "/proc/self/fd/%d", p[0]);
    int r = open(name, O_RDONLY);
    CHECK_OK(r);
    CHECK_EQ(write(p[1], "q", 1), 1);
    CHECK_EQ(read(r, &c, 1), 1);
    CHECK_EQ(c, 'q');
    close(r);
    close(p[0]);
    close(p[1]);
}

TEST(a_socket_cannot)
{
    int s[2];
    char name[64];
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    snprintf(name, sizeof(name), "/proc/self/fd/%d", s[0]);
    CHECK_ERR(open(name, O_RDWR), ENXIO);
    close(s[0]);
    close(s[1]);
}

TEST(stat_follows_to_the_file)
{
    struct stat a, b;
    char name[64];
    int fd = open("/etc", O_RDONLY | O_DIRECTORY);
    CHECK_OK(fd);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    CHECK_OK(stat(name, &a));
    CHECK_OK(fstat(fd, &b));
    CHECK_EQ(a.st_ino, b.st_ino);
    CHECK_EQ(a.st_dev, b.st_dev);
    snprintf(name, sizeof(name), "/proc/self/fd/%d/passwd", fd);
    CHECK(access(name, F_OK) == 0 || errno == ENOENT);
    close(fd);
}

TEST(fdinfo_tells_position_and_flags)
{
    char name[64], buf[512];
    long long pos = -1;
    unsigned int flags = 0;
    char tmp[] = "/tmp/proc_fdXXXXXX";
    int fd = mkstemp(tmp);
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "0123456789", 10), 10);
    CHECK_OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
    CHECK_OK(fcntl(fd, F_SETFL, O_APPEND));
    snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
    int info = open(name, O_RDONLY);
    CHECK_OK(info);
    ssize_t n = read(info, buf, sizeof(buf) - 1);
    CHECK(n > 0);
    buf[n] = 0;
    CHECK_EQ(sscanf(buf, "pos:\t%lld\nflags:\t%o\nmnt_id:\t", &pos, &flags), 2);
    CHECK_EQ(pos, 10);
    CHECK_EQ(flags & O_ACCMODE, O_RDWR);
    CHECK(flags & O_APPEND);
    CHECK(flags & O_CLOEXEC);
    close(info);
    close(fd);
    unlink(tmp);
}

TEST_MAIN()
