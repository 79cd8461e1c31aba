/* inotify: which events come, in which order, with which names. */
#include "guest_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static char dir[] = "/tmp/inotify-XXXXXX";
static int in;

static void begin(uint32_t mask, int *wd)
{
    strcpy(dir, "/tmp/inotify-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    CHECK_OK(chdir(dir));
    CHECK_OK(in = inotify_init1(IN_NONBLOCK));
    if (wd)
        CHECK_OK(*wd = inotify_add_watch(in, ".", mask));
}

static struct inotify_event last;
static char last_name[256], events[4096];
static size_t at, have;

/* The next event; 0 when there is none. */
static uint32_t next(void)
{
    if (at >= have) {
        ssize_t n = read(in, events, sizeof(events));
        if (n <= 0)
            return 0;
        have = (size_t)n;
        at = 0;
    }
    memcpy(&last, events + at, sizeof(last));
    snprintf(last_name, sizeof(last_name), "%s", last.len ? events + at + sizeof(last) : "");
    at += sizeof(last) + last.len;
    return last.mask;
}

static void make_file(const char *name)
{
    int fd;
    CHECK_OK(fd = open(name, O_CREAT | O_WRONLY, 0644));
    close(fd);
}

TEST(a_directory_tells_of_its_entries)
{
    int wd, fd, bytes;
    struct pollfd p;
    begin(IN_ALL_EVENTS, &wd);
    CHECK_OK(fd = open("f", O_CREAT | O_RDWR, 0644));
    CHECK_EQ(write(fd, "x", 1), 1);
    close(fd);
    p = (struct pollfd){.fd = in, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_OK(ioctl(in, FIONREAD, &bytes));
    CHECK_EQ(bytes, 4 * (sizeof(struct inotify_event) + 16));
    CHECK_EQ(next(), IN_CREATE);
    CHECK_STR(last_name, "f");
    CHECK_EQ(last.wd, wd);
    CHECK_EQ(next(), IN_OPEN);
    CHECK_EQ(next(), IN_MODIFY);
    CHECK_EQ(next(), IN_CLOSE_WRITE);
    CHECK_OK(chmod("f", 0600));
    CHECK_EQ(next(), IN_ATTRIB);
    CHECK_OK(mkdir("d", 0755));
    CHECK_EQ(next(), IN_CREATE | IN_ISDIR);
    CHECK_OK(rmdir("d"));
    CHECK_EQ(next(), IN_DELETE | IN_ISDIR);
    CHECK_OK(unlink("f"));
    CHECK_EQ(next(), IN_DELETE);
    CHECK_EQ(next(), 0);
    close(in);
}

TEST(a_rename_is_two_events_with_one_cookie)
{
    int wd;
    begin(IN_MOVE | IN_MOVE_SELF, &wd);
    make_file("a");
    CHECK_OK(rename("a", "b"));
    CHECK_EQ(next(), IN_MOVED_FROM);
    CHECK_STR(last_name, "a");
    uint32_t cookie = last.cookie;
    CHECK(cookie != 0);
    CHECK_EQ(next(), IN_MOVED_TO);
    CHECK_STR(last_name, "b");
    CHECK_EQ(last.cookie, cookie);
    CHECK_EQ(next(), 0);
    close(in);
}

TEST(a_watched_file_says_when_it_is_gone)
{
    int wd, fd;
    begin(0, NULL);
    make_file("f");
    CHECK_OK(wd = inotify_add_watch(in, "f", IN_DELETE_SELF | IN_ATTRIB));
    CHECK_OK(fd = open("f", O_RDONLY));
    CHECK_OK(unlink("f"));
    CHECK_EQ(next(), IN_ATTRIB);
    CHECK_EQ(next(), 0);
    close(fd);
    CHECK_EQ(next(), IN_DELETE_SELF);
    CHECK_EQ(next(), IN_IGNORED);
    CHECK_ERR(inotify_rm_watch(in, wd), EINVAL);
    close(in);
}

TEST(masks_are_replaced_added_or_made_once)
{
    int wd, again;
    begin(IN_CREATE, &wd);
    CHECK_OK(again = inotify_add_watch(in, ".", IN_DELETE | IN_MASK_ADD));
    CHECK_EQ(again, wd);
    CHECK_ERR(inotify_add_watch(in, ".", IN_DELETE | IN_MASK_CREATE), EEXIST);
    make_file("f");
    CHECK_OK(unlink("f"));
    CHECK_EQ(next(), IN_CREATE);
    CHECK_EQ(next(), IN_DELETE);
    CHECK_OK(inotify_add_watch(in, ".", IN_DELETE));
    make_file("g");
    CHECK_EQ(next(), 0);
    CHECK_OK(inotify_add_watch(in, ".", IN_CREATE | IN_ONESHOT));
    make_file("h");
    make_file("i");
    CHECK_EQ(next(), IN_CREATE);
    CHECK_STR(last_name, "h");
    CHECK_EQ(next(), IN_IGNORED);
    CHECK_EQ(next(), 0);
    CHECK_ERR(inotify_add_watch(in, ".", 0), EINVAL);
    CHECK_ERR(inotify_add_watch(in, "h", IN_OPEN | IN_ONLYDIR), ENOTDIR);
    CHECK_ERR(inotify_add_watch(0, ".", IN_OPEN), EINVAL);
    close(in);
}

TEST(equal_events_in_a_row_are_one)
{
    int wd, fd;
    begin(IN_MODIFY, &wd);
    CHECK_OK(fd = open("f", O_CREAT | O_WRONLY, 0644));
    for (int i = 0; i < 5; i++)
        CHECK_EQ(write(fd, "x", 1), 1);
    CHECK_EQ(next(), IN_MODIFY);
    CHECK_EQ(next(), 0);
    char small[8];
    CHECK_EQ(write(fd, "x", 1), 1);
    CHECK_ERR(read(in, small, sizeof(small)), EINVAL);
    close(fd);
    CHECK_OK(inotify_rm_watch(in, wd));
    close(in);
}
TEST_MAIN()
