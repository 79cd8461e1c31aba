/* Names: open, mkdir, rename, link, unlink, symlinks, and what paths mean. */
#include "guest_test.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char dir[] = "/tmp/names-XXXXXX";

static void fresh_dir(void)
{
    strcpy(dir, "/tmp/names-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    CHECK_OK(chdir(dir));
}

static void make_file(const char *name, const char *text)
{
    int fd;
    CHECK_OK(fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0644));
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void expect_content(const char *name, const char *text)
{
    char buf[64] = "";
    int fd;
    CHECK_OK(fd = open(name, O_RDONLY));
    CHECK_OK(read(fd, buf, sizeof(buf) - 1));
    close(fd);
    CHECK_STR(buf, text);
}

TEST(open_flags_give_the_errors_of_the_manual)
{
    int fd;
    fresh_dir();
    make_file("f", "x");
    CHECK_OK(mkdir("d", 0755));
    CHECK_OK(symlink("f", "l"));
    CHECK_OK(symlink("loop", "loop"));
    CHECK_ERR(open("f", O_CREAT | O_EXCL, 0644), EEXIST);
    CHECK_ERR(open("l", O_CREAT | O_EXCL, 0644), EEXIST);
    CHECK_ERR(open("l", O_NOFOLLOW), ELOOP);
    CHECK_ERR(open("loop", O_RDONLY), ELOOP);
    CHECK_ERR(open("f", O_DIRECTORY), ENOTDIR);
    CHECK_ERR(open("d", O_WRONLY), EISDIR);
    CHECK_ERR(open("d", O_CREAT | O_RDONLY, 0644), EISDIR);
    CHECK_ERR(open("f/x", O_RDONLY), ENOTDIR);
    CHECK_ERR(open("f/", O_RDONLY), ENOTDIR);
    CHECK_ERR(open("new/", O_CREAT | O_WRONLY, 0644), EISDIR);
    CHECK_ERR(open("", O_RDONLY), ENOENT);
    CHECK_ERR(open("missing/x", O_CREAT | O_WRONLY, 0644), ENOENT);
    CHECK_OK(fd = open("l", O_PATH | O_NOFOLLOW));
    struct stat st;
    CHECK_OK(fstat(fd, &st));
    CHECK(S_ISLNK(st.st_mode));
    char c;
    CHECK_ERR(read(fd, &c, 1), EBADF);
    CHECK_ERR(fchmod(fd, 0600), EBADF);
    close(fd);
}

TEST(openat2_confines_the_walk)
{
    struct open_how beneath = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    struct open_how in_root = {.flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT};
    struct open_how no_links = {.flags = O_RDONLY, .resolve = RESOLVE_NO_SYMLINKS};
    struct open_how bad = {.flags = O_RDONLY, .resolve = 0x1000};
    int dfd, fd;
    fresh_dir();
    CHECK_OK(mkdir("d", 0755));
    make_file("d/f", "in");
    make_file("f", "out");
    CHECK_OK(symlink("../f", "d/up"));
    CHECK_OK(symlink("/f", "d/abs"));
    CHECK_OK(dfd = open("d", O_RDONLY | O_DIRECTORY));
    CHECK_ERR(syscall(SYS_openat2, dfd, "up", &beneath, sizeof(beneath)), EXDEV);
    CHECK_ERR(syscall(SYS_openat2, dfd, "../f", &beneath, sizeof(beneath)), EXDEV);
    CHECK_ERR(syscall(SYS_openat2, dfd, "/etc", &beneath, sizeof(beneath)), EXDEV);
    CHECK_OK(fd = syscall(SYS_openat2, dfd, "abs", &in_root, sizeof(in_root)));
    char buf[8] = "";
    CHECK_EQ(read(fd, buf, sizeof(buf)), 2);
    close(fd);
    CHECK_ERR(syscall(SYS_openat2, dfd, "abs", &no_links, sizeof(no_links)), ELOOP);
    CHECK_ERR(syscall(SYS_openat2, dfd, "f", &bad, sizeof(bad)), EINVAL);
    CHECK_ERR(syscall(SYS_openat2, dfd, "f", &beneath, 8), EINVAL);
    close(dfd);
}

TEST(rename_covers_replacing_exchanging_and_refusing)
{
    struct stat st;
    fresh_dir();
    make_file("a", "A");
    make_file("b", "B");
    CHECK_ERR(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
    CHECK_OK(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
    expect_content("a", "B");
    CHECK_OK(rename("a", "b"));
    expect_content("b", "B");
    CHECK_ERR(stat("a", &st), ENOENT);
    CHECK_OK(mkdir("d", 0755));
    CHECK_OK(mkdir("d/e", 0755));
    CHECK_ERR(rename("d", "d/e/f"), EINVAL);
    CHECK_ERR(rename("b", "d"), EISDIR);
    CHECK_ERR(rename("d", "b"), ENOTDIR);
    CHECK_ERR(rename("d/.", "x"), EBUSY);
    CHECK_OK(mkdir("empty", 0755));
    CHECK_OK(rename("d", "empty"));
    CHECK_OK(stat("empty/e", &st));
    CHECK_ERR(rename("missing", "x"), ENOENT);
    /* Two names of one file: nothing happens. */
    CHECK_OK(link("b", "b2"));
    CHECK_OK(rename("b", "b2"));
    CHECK_OK(stat("b", &st));
    CHECK_EQ(st.st_nlink, 2);
}

TEST(links_count_and_unlinked_files_live_on)
{
    struct stat st;
    char buf[256];
    int fd;
    fresh_dir();
    make_file("f", "data");
    CHECK_OK(link("f", "g"));
    CHECK_OK(stat("g", &st));
    CHECK_EQ(st.st_nlink, 2);
    CHECK_ERR(link("f", "g"), EEXIST);
    CHECK_OK(mkdir("d", 0755));
    CHECK_ERR(link("d", "h"), EPERM);
    CHECK_OK(fd = open("f", O_RDWR));
    CHECK_OK(unlink("f"));
    CHECK_OK(unlink("g"));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_nlink, 0);
    CHECK_EQ(read(fd, buf, sizeof(buf)), 4);
    snprintf(buf, sizeof(buf), "/proc/self/fd/%d", fd);
    CHECK_ERR(linkat(AT_FDCWD, buf, AT_FDCWD, "again", AT_SYMLINK_FOLLOW), ENOENT);
    close(fd);
}

TEST(a_tmpfile_gets_its_name_by_linkat)
{
    char path[64];
    struct stat st;
    int fd;
    fresh_dir();
    fd = open(".", O_TMPFILE | O_RDWR, 0644);
    if (fd < 0 && errno == EOPNOTSUPP)
        SKIP("no O_TMPFILE here");
    CHECK_OK(fd);
    CHECK_EQ(write(fd, "tmp", 3), 3);
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_nlink, 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CHECK_OK(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
    expect_content("named", "tmp");
    close(fd);
    CHECK_ERR(open(".", O_TMPFILE | O_RDONLY, 0644), EINVAL);
}

TEST(removing_checks_what_it_is)
{
    fresh_dir();
    make_file("f", "");
    CHECK_OK(mkdir("d", 0755));
    make_file("d/x", "");
    CHECK_ERR(rmdir("f"), ENOTDIR);
    CHECK_ERR(rmdir("d"), ENOTEMPTY);
    CHECK_ERR(rmdir("d/."), EINVAL);
    CHECK_ERR(rmdir("d/.."), ENOTEMPTY);
    CHECK_ERR(unlink("d"), EISDIR);
    CHECK_ERR(unlink("f/"), ENOTDIR);
    CHECK_ERR(mkdir("f", 0755), EEXIST);
    CHECK_ERR(mkdir("/", 0755), EEXIST);
    CHECK_OK(unlink("d/x"));
    CHECK_OK(rmdir("d/"));
    /* A directory that is gone takes no new names. */
    CHECK_OK(mkdir("gone", 0755));
    CHECK_OK(chdir("gone"));
    CHECK_OK(rmdir("../gone"));
    CHECK_ERR(open("x", O_CREAT | O_WRONLY, 0644), ENOENT);
    CHECK_ERR(mkdir("x", 0755), ENOENT);
    char buf[64];
    CHECK_ERR(syscall(SYS_getcwd, buf, sizeof(buf)), ENOENT);
    CHECK_OK(chdir("/"));
}

TEST(getcwd_follows_renames)
{
    char buf[256], want[256];
    fresh_dir();
    CHECK_OK(mkdir("old", 0755));
    CHECK_OK(chdir("old"));
    snprintf(want, sizeof(want), "%s/new", dir);
    CHECK_OK(rename("../old", "../new"));
    CHECK(getcwd(buf, sizeof(buf)) != NULL);
    CHECK_STR(buf, want);
    CHECK_ERR(syscall(SYS_getcwd, buf, 3), ERANGE);
}
TEST_MAIN()
