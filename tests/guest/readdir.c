/* getdents: every name once, whatever happens meanwhile. */
#include "guest_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define FILES 500

static char dir[] = "/tmp/readdir-XXXXXX";

static void fill_dir(void)
{
    char name[32];
    strcpy(dir, "/tmp/readdir-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    CHECK_OK(chdir(dir));
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        int fd;
        CHECK_OK(fd = open(name, O_CREAT | O_WRONLY, 0644));
        close(fd);
    }
}

TEST(all_names_come_once_with_their_inode_numbers)
{
    static int seen[FILES];
    int dots = 0;
    struct dirent *e;
    struct stat st;
    memset(seen, 0, sizeof(seen));
    fill_dir();
    DIR *d = opendir(".");
    CHECK(d != NULL);
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.') {
            dots++;
            continue;
        }
        CHECK_EQ(e->d_type, DT_REG);
        CHECK_OK(stat(e->d_name, &st));
        CHECK_EQ(st.st_ino, e->d_ino);
        seen[atoi(e->d_name + 1)]++;
    }
    CHECK_EQ(dots, 2);
    for (int i = 0; i < FILES; i++)
        CHECK_EQ(seen[i], 1);
    closedir(d);
}

TEST(removing_while_reading_skips_nothing)
{
    struct dirent *e;
    int n = 0;
    fill_dir();
    DIR *d = opendir(".");
    CHECK(d != NULL);
    while ((e = readdir(d)))
        if (e->d_name[0] == 'f') {
            CHECK_OK(unlink(e->d_name));
            n++;
        }
    CHECK_EQ(n, FILES);
    closedir(d);
    CHECK_OK(rmdir(dir));
}

TEST(seeking_goes_back_to_where_telldir_said)
{
    struct dirent *e;
    char name[256];
    fill_dir();
    DIR *d = opendir(".");
    for (int i = 0; i < 100; i++)
        CHECK(readdir(d) != NULL);
    long at = telldir(d);
    e = readdir(d);
    CHECK(e != NULL);
    strcpy(name, e->d_name);
    for (int i = 0; i < 50; i++)
        CHECK(readdir(d) != NULL);
    seekdir(d, at);
    e = readdir(d);
    CHECK(e != NULL);
    CHECK_STR(e->d_name, name);
    closedir(d);
}

TEST(bad_arguments_are_refused)
{
    char buf[16];
    int fd;
    fill_dir();
    CHECK_OK(fd = open(".", O_RDONLY));
    CHECK_ERR(syscall(SYS_getdents64, fd, buf, 4), EINVAL);
    CHECK_ERR(syscall(SYS_getdents64, -1, buf, 16), EBADF);
    CHECK_ERR(syscall(SYS_getdents64, fd, (void *)8, 4096), EFAULT);
    close(fd);
    CHECK_OK(fd = open("f1", O_RDONLY));
    CHECK_ERR(syscall(SYS_getdents64, fd, buf, 16), ENOTDIR);
    close(fd);
}
TEST_MAIN()
