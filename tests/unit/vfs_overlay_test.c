/* hostfs alone, and under an overlay with a tmpfs above it. */
#include "tests/unit/vfs_test_util.h"

#include "vfs/overlay/overlay.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <linux/fs.h>
#include <sys/stat.h>

static struct world w;
static char host[64];

static void host_write(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", host, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void host_mkdir(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", host, name);
    cr_assert_eq(mkdir(path, 0755), 0);
}

static bool host_exists(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", host, name);
    return access(path, F_OK) == 0;
}

static struct super_block *make_host(bool readonly)
{
    struct super_block *sb;
    struct hostfs_options opt = {.readonly = readonly};
    int fd = open(host, O_PATH | O_DIRECTORY);
    cr_assert_eq(hostfs_create(fd, &opt, &sb), 0);
    close(fd);
    return sb;
}

static void setup_host(void)
{
    strcpy(host, "/tmp/vfs-test-XXXXXX");
    cr_assert_not_null(mkdtemp(host));
    host_mkdir("dir");
    host_mkdir("dir/sub");
    host_write("file", "lower");
    host_write("dir/inner", "inner");
    char link[128];
    snprintf(link, sizeof(link), "%s/escape", host);
    cr_assert_eq(symlink("/etc/passwd", link), 0);
}

static void teardown(void)
{
    char cmd[128];
    world_fini(&w);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", host);
    cr_assert_eq(system(cmd), 0);
}

static void setup_hostfs(void)
{
    setup_host();
    world_init_on(&w, make_host(false));
    w.cred->fsuid = getuid();
    w.cred->fsgid = getgid();
}

static void setup_overlay(void)
{
    struct super_block *lower, *upper, *sb;
    setup_host();
    cr_assert_eq(memfile_create(1ULL << 32, &w.mf), 0);
    lower = make_host(true);
    cr_assert_eq(tmpfs_create(w.mf, "", &upper), 0);
    cr_assert_eq(overlay_create(&lower, 1, upper, &sb), 0);
    super_put(lower);
    super_put(upper);
    world_init_on(&w, sb);
    w.cred->fsuid = getuid();
    w.cred->fsgid = getgid();
}

/* The names in a directory, sorted as they come, joined by spaces. */
struct names {
    struct dir_context dc;
    char text[512];
};
static bool add_name(struct dir_context *dc, const char *name, size_t len, uint64_t ino, unsigned int type, loff_t next)
{
    struct names *n = (struct names *)dc;
    if (name[0] != '.') {
        strncat(n->text, name, len);
        strcat(n->text, " ");
    }
    return true;
}
static int count_words(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += *s == ' ';
    return n;
}
static void list(const char *dir, struct names *n)
{
    struct file *f;
    memset(n, 0, sizeof(*n));
    n->dc.emit = add_name;
    cr_assert_eq(w_open(&w, dir, O_RDONLY | O_DIRECTORY, 0, &f), 0);
    cr_assert_eq(vfs_iterate(f, &w.c, &n->dc), 0);
    file_put(f);
}

TestSuite(vfs_hostfs, .init = setup_hostfs, .fini = teardown);
TestSuite(vfs_overlay, .init = setup_overlay, .fini = teardown);

Test(vfs_hostfs, files_are_the_hosts)
{
    char buf[64];
    cr_assert_eq(w_read_file(&w, "/file", buf, sizeof(buf)), 5);
    cr_assert_eq(w_write_file(&w, "/dir/new", "fresh"), 0);
    cr_assert(host_exists("dir/new"));
    cr_assert_eq(vfs_rename(&w.c, NULL, "/dir", NULL, "/moved", 0), 0);
    cr_assert_eq(w_read_file(&w, "/moved/new", buf, sizeof(buf)), 5);
    cr_assert_str_eq(buf, "fresh");
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/moved/new"), 0);
    cr_assert_not(host_exists("moved/new"));
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/moved"), -ENOTEMPTY);
    struct names n;
    list("/moved", &n);
    cr_assert_eq(count_words(n.text), 2);
}

Test(vfs_hostfs, symlinks_of_the_tree_are_resolved_inside_it)
{
    char buf[64];
    cr_assert_eq(w_read_file(&w, "/escape", buf, sizeof(buf)), -ENOENT);
}

Test(vfs_hostfs, an_unlinked_open_file_can_still_be_used)
{
    struct file *f;
    char buf[16];
    struct statx st;
    loff_t pos = 0;
    cr_assert_eq(w_open(&w, "/file", O_RDWR, 0, &f), 0);
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/file"), 0);
    cr_assert_eq(file_read_host(f, &w.c, buf, 5, &pos), 5);
    cr_assert_eq(vfs_ftruncate(&w.c, f, 2), 0);
    struct iattr mode = {.valid = ATTR_MODE, .mode = 0600};
    cr_assert_eq(vfs_setattr(&w.c, &f->path, &mode), 0);
    cr_assert_eq(vfs_getattr(&f->path, 0, &st), 0);
    cr_assert_eq(st.stx_size, 2);
    cr_assert_eq(st.stx_nlink, 0);
    file_put(f);
}

Test(vfs_hostfs, attributes_of_hard_links_agree)
{
    struct statx a, b;
    cr_assert_eq(vfs_link(&w.c, NULL, "/file", NULL, "/dir/link", 0), 0);
    cr_assert_eq(w_stat(&w, "/file", true, &a), 0);
    cr_assert_eq(w_stat(&w, "/dir/link", true, &b), 0);
    cr_assert_eq(a.stx_ino, b.stx_ino);
    cr_assert_eq(a.stx_nlink, 2);
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/file"), 0);
    cr_assert_eq(w_write_file(&w, "/dir/link", "still here"), 0);
    cr_assert_eq(w_stat(&w, "/dir/link", true, &b), 0);
    cr_assert_eq(b.stx_size, 10);
    cr_assert_eq(b.stx_nlink, 1);
}

Test(vfs_hostfs, device_nodes_and_fifos_are_not_opened_on_the_host)
{
    struct file *f;
    cr_assert_eq(vfs_mknod(&w.c, NULL, "/fifo", S_IFIFO | 0644, 0), 0);
    cr_assert_eq(w_open(&w, "/fifo", O_RDONLY | O_NONBLOCK, 0, &f), -ENXIO, "no opener is registered here");
}

Test(vfs_overlay, writing_copies_up_and_leaves_the_lower_file_alone)
{
    char buf[64], path[128];
    struct statx before, after;
    cr_assert_eq(w_stat(&w, "/file", true, &before), 0);
    struct file *reader;
    cr_assert_eq(w_open(&w, "/file", O_RDONLY, 0, &reader), 0);
    cr_assert_eq(w_write_file(&w, "/file", "upper!"), 0);
    cr_assert_eq(w_read_file(&w, "/file", buf, sizeof(buf)), 6);
    cr_assert_str_eq(buf, "upper!");
    cr_assert_eq(w_stat(&w, "/file", true, &after), 0);
    cr_assert_eq(before.stx_ino, after.stx_ino);
    cr_assert_eq(after.stx_mode, before.stx_mode);
    loff_t pos = 0;
    cr_assert_eq(file_read_host(reader, &w.c, buf, 6, &pos), 6, "an earlier reader sees the copy");
    file_put(reader);
    snprintf(path, sizeof(path), "%s/file", host);
    int fd = open(path, O_RDONLY);
    cr_assert_eq(read(fd, buf, sizeof(buf)), 5);
    close(fd);
}

Test(vfs_overlay, removed_names_stay_removed)
{
    struct statx st;
    struct names n;
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/file"), 0);
    cr_assert_eq(w_stat(&w, "/file", true, &st), -ENOENT);
    cr_assert(host_exists("file"));
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/dir/inner"), 0);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/dir"), -ENOTEMPTY);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/dir/sub"), 0);
    list("/dir", &n);
    cr_assert_str_eq(n.text, "");
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/dir"), 0);
    cr_assert_eq(w_stat(&w, "/dir", true, &st), -ENOENT);
    /* What is made anew does not show the old content. */
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/dir", 0755), 0);
    list("/dir", &n);
    cr_assert_str_eq(n.text, "");
    cr_assert_eq(w_write_file(&w, "/file", "again"), 0);
    list("/", &n);
    cr_assert_eq(count_words(n.text), 3);
}

Test(vfs_overlay, merged_directories_list_each_name_once)
{
    struct names n;
    cr_assert_eq(w_write_file(&w, "/dir/inner", "changed"), 0);
    cr_assert_eq(w_write_file(&w, "/dir/extra", "x"), 0);
    list("/dir", &n);
    cr_assert_eq(count_words(n.text), 3);
    cr_assert_not_null(strstr(n.text, "inner"));
    cr_assert_not_null(strstr(n.text, "extra"));
    cr_assert_not_null(strstr(n.text, "sub"));
}

Test(vfs_overlay, renames_leave_whiteouts_and_lower_directories_do_not_move)
{
    char buf[64];
    struct statx st;
    cr_assert_eq(vfs_rename(&w.c, NULL, "/dir", NULL, "/other", 0), -EXDEV);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/file", NULL, "/dir/inner", 0), 0);
    cr_assert_eq(w_stat(&w, "/file", true, &st), -ENOENT);
    cr_assert_eq(w_read_file(&w, "/dir/inner", buf, sizeof(buf)), 5);
    cr_assert_str_eq(buf, "lower");
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/fresh", 0755), 0);
    cr_assert_eq(w_write_file(&w, "/fresh/f", "f"), 0);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/fresh", NULL, "/file", 0), 0);
    cr_assert_eq(w_read_file(&w, "/file/f", buf, sizeof(buf)), 1);
    cr_assert_eq(vfs_link(&w.c, NULL, "/dir/inner", NULL, "/hard", 0), 0);
    cr_assert_eq(w_stat(&w, "/hard", true, &st), 0);
    cr_assert_eq(st.stx_nlink, 2);
}

Test(vfs_overlay, metadata_changes_copy_up_too)
{
    struct path p;
    struct statx st;
    struct iattr mode = {.valid = ATTR_MODE, .mode = 0700};
    cr_assert_eq(vfs_lookup(&w.c, NULL, "/dir/sub", 0, 0, &p), 0);
    cr_assert_eq(vfs_setattr(&w.c, &p, &mode), 0);
    cr_assert_eq(vfs_getattr(&p, 0, &st), 0);
    cr_assert_eq(st.stx_mode & 07777, 0700);
    path_put(&p);
    cr_assert_eq(w_write_file(&w, "/dir/sub/deep", "d"), 0);
    cr_assert_not(host_exists("dir/sub/deep"));
}
