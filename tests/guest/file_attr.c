/* Attributes: stat, chmod, chown, times, access, xattrs, umask. */
#include "guest_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

static char name[] = "/tmp/attr-XXXXXX";

static int fresh_file(void)
{
    int fd;
    strcpy(name, "/tmp/attr-XXXXXX");
    CHECK_OK(fd = mkstemp(name));
    return fd;
}

TEST(stat_and_statx_agree)
{
    struct stat st;
    struct statx sx;
    int fd = fresh_file();
    CHECK_EQ(write(fd, "abc", 3), 3);
    CHECK_OK(stat(name, &st));
    CHECK_OK(statx(AT_FDCWD, name, 0, STATX_BASIC_STATS, &sx));
    CHECK_EQ(sx.stx_size, 3);
    CHECK_EQ(st.st_size, 3);
    CHECK_EQ(st.st_ino, sx.stx_ino);
    CHECK_EQ(st.st_mode, sx.stx_mode);
    CHECK_EQ(st.st_mode, S_IFREG | 0600);
    CHECK_OK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx));
    CHECK_EQ(sx.stx_size, 3);
    CHECK_ERR(statx(fd, "", 0, STATX_SIZE, &sx), ENOENT);
    CHECK_ERR(statx(AT_FDCWD, name, -1, STATX_SIZE, &sx), EINVAL);
    close(fd);
}

TEST(times_are_set_to_the_nanosecond)
{
    struct timespec ts[2] = {{1000, 1}, {2000, 999999999}};
    struct stat st;
    int fd = fresh_file();
    CHECK_OK(utimensat(AT_FDCWD, name, ts, 0));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_atim.tv_sec, 1000);
    CHECK_EQ(st.st_atim.tv_nsec, 1);
    CHECK_EQ(st.st_mtim.tv_nsec, 999999999);
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1].tv_nsec = UTIME_NOW;
    CHECK_OK(futimens(fd, ts));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_atim.tv_sec, 1000);
    CHECK(st.st_mtim.tv_sec > 1000000000);
    ts[0].tv_nsec = 2000000000;
    CHECK_ERR(utimensat(AT_FDCWD, name, ts, 0), EINVAL);
    close(fd);
}

TEST(umask_and_chmod_decide_the_mode)
{
    struct stat st;
    mode_t old = umask(027);
    CHECK_EQ(umask(027), 027);
    strcpy(name, "/tmp/attr-XXXXXX");
    CHECK(mkdtemp(name) != NULL);
    CHECK_OK(chdir(name));
    int fd;
    CHECK_OK(fd = open("f", O_CREAT | O_WRONLY, 0777));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_mode & 07777, 0750);
    CHECK_OK(fchmod(fd, 04711));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_mode & 07777, 04711);
    CHECK_OK(mkdir("d", 02777));
    CHECK_OK(stat("d", &st));
    CHECK_EQ(st.st_mode & 07777, 0750);
    umask(old);
    close(fd);
}

TEST(set_group_id_directories_hand_their_group_on)
{
    struct stat st;
    if (geteuid() != 0)
        SKIP("needs root");
    strcpy(name, "/tmp/attr-XXXXXX");
    CHECK(mkdtemp(name) != NULL);
    CHECK_OK(chown(name, 0, 4242));
    CHECK_OK(chmod(name, 02755));
    CHECK_OK(chdir(name));
    CHECK_OK(mkdir("d", 0755));
    CHECK_OK(stat("d", &st));
    CHECK_EQ(st.st_gid, 4242);
    CHECK_EQ(st.st_mode & 07777, 02755);
    int fd;
    CHECK_OK(fd = open("f", O_CREAT | O_WRONLY, 0644));
    CHECK_OK(fstat(fd, &st));
    CHECK_EQ(st.st_gid, 4242);
    close(fd);
}

TEST(permissions_bind_the_unprivileged)
{
    int fd = fresh_file();
    close(fd);
    if (geteuid() != 0)
        SKIP("needs root");
    CHECK_OK(chmod(name, 0640));
    CHECK_OK(chown(name, 0, 5000));
    CHECK_OK(setegid(5000));
    CHECK_OK(seteuid(1000));
    int as_group = open(name, O_RDONLY), writing = open(name, O_WRONLY), err = errno;
    int removed = unlink(name), unlink_err = errno;
    int mode = chmod(name, 0777), mode_err = errno;
    CHECK_OK(seteuid(0));
    CHECK_OK(setegid(0));
    CHECK_OK(as_group);
    CHECK_EQ(writing, -1);
    CHECK_EQ(err, EACCES);
    CHECK_EQ(removed, -1);
    CHECK_EQ(unlink_err, EPERM); /* /tmp is sticky */
    CHECK_EQ(mode, -1);
    CHECK_EQ(mode_err, EPERM);
    CHECK_OK(access(name, R_OK));
    CHECK_ERR(access(name, X_OK), EACCES);
    CHECK_ERR(access(name, 99), EINVAL);
    close(as_group);
}

TEST(user_attributes_are_kept)
{
    char buf[32];
    int fd = fresh_file();
    if (fsetxattr(fd, "user.a", "value", 5, 0) < 0 && errno == EOPNOTSUPP)
        SKIP("no user attributes here");
    CHECK_EQ(fgetxattr(fd, "user.a", NULL, 0), 5);
    CHECK_EQ(getxattr(name, "user.a", buf, sizeof(buf)), 5);
    CHECK_ERR(getxattr(name, "user.a", buf, 2), ERANGE);
    CHECK_ERR(getxattr(name, "user.b", buf, 2), ENODATA);
    CHECK_ERR(setxattr(name, "user.a", "x", 1, XATTR_CREATE), EEXIST);
    CHECK_ERR(setxattr(name, "user.b", "x", 1, XATTR_REPLACE), ENODATA);
    CHECK_ERR(setxattr(name, "nonsense", "x", 1, 0), EOPNOTSUPP);
    CHECK_OK(setxattr(name, "user.b", "", 0, 0));
    CHECK(listxattr(name, buf, sizeof(buf)) >= 14);
    CHECK_OK(removexattr(name, "user.a"));
    CHECK_ERR(removexattr(name, "user.a"), ENODATA);
    close(fd);
}

TEST(statfs_knows_the_file_system)
{
    struct statfs s;
    CHECK_OK(statfs("/tmp", &s));
    CHECK(s.f_bsize > 0);
    CHECK_EQ(s.f_namelen, 255);
    CHECK_ERR(statfs("/missing", &s), ENOENT);
    CHECK_OK(statfs("/proc", &s));
    CHECK_EQ(s.f_type, 0x9fa0);
}
TEST_MAIN()
