/* The path walk and the operations on names, over tmpfs. */
#include "tests/unit/vfs_test_util.h"

#include <criterion/criterion.h>
#include <linux/fs.h>

static struct world w;

static void setup(void)
{
    world_init(&w);
}
static void teardown(void)
{
    world_fini(&w);
}
TestSuite(vfs_namei, .init = setup, .fini = teardown);

Test(vfs_namei, files_are_created_read_and_removed)
{
    char buf[64];
    struct statx st;
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/d", 0755), 0);
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/d", 0755), -EEXIST);
    cr_assert_eq(w_write_file(&w, "/d/f", "hello"), 0);
    cr_assert_eq(w_read_file(&w, "/d/f", buf, sizeof(buf)), 5);
    cr_assert_str_eq(buf, "hello");
    cr_assert_eq(w_stat(&w, "/d/../d/./f", true, &st), 0);
    cr_assert_eq(st.stx_size, 5);
    cr_assert_eq(st.stx_mode, S_IFREG | 0644);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/d"), -ENOTEMPTY);
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/d"), -EISDIR);
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/d/f"), 0);
    cr_assert_eq(w_stat(&w, "/d/f", true, &st), -ENOENT);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/d/"), 0);
    cr_assert_eq(w_stat(&w, "/d", true, &st), -ENOENT);
}

Test(vfs_namei, names_that_are_no_names_give_the_errors_of_linux)
{
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/", 0755), -EEXIST);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/"), -EBUSY);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/."), -EINVAL);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/.."), -ENOTEMPTY);
    cr_assert_eq(vfs_unlink(&w.c, NULL, ""), -ENOENT);
    cr_assert_eq(w_write_file(&w, "/f", "x"), 0);
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/f/"), -ENOTDIR);
    struct file *f;
    cr_assert_eq(w_open(&w, "/f/", O_RDONLY, 0, &f), -ENOTDIR);
    cr_assert_eq(w_open(&w, "/new/", O_CREAT | O_WRONLY, 0644, &f), -EISDIR);
    cr_assert_eq(w_open(&w, "/f", O_CREAT | O_EXCL, 0644, &f), -EEXIST);
    cr_assert_eq(w_open(&w, "/f", O_DIRECTORY, 0, &f), -ENOTDIR);
    char longname[300];
    memset(longname, 'a', sizeof(longname));
    longname[0] = '/';
    longname[299] = 0;
    cr_assert_eq(w_open(&w, longname, O_RDONLY, 0, &f), -ENAMETOOLONG);
}

Test(vfs_namei, symlinks_are_followed_up_to_forty_times)
{
    char buf[64];
    struct statx st;
    cr_assert_eq(w_write_file(&w, "/f", "x"), 0);
    cr_assert_eq(vfs_symlink(&w.c, "f", NULL, "/l0"), 0);
    for (int i = 1; i <= 40; i++) {
        char from[16], to[16];
        snprintf(from, sizeof(from), "/l%d", i);
        snprintf(to, sizeof(to), "l%d", i - 1);
        cr_assert_eq(vfs_symlink(&w.c, to, NULL, from), 0);
    }
    cr_assert_eq(w_read_file(&w, "/l39", buf, sizeof(buf)), 1);
    cr_assert_eq(w_read_file(&w, "/l40", buf, sizeof(buf)), -ELOOP);
    cr_assert_eq(w_stat(&w, "/l40", false, &st), 0);
    cr_assert_eq(st.stx_mode & S_IFMT, S_IFLNK);
    struct file *f;
    cr_assert_eq(w_open(&w, "/l0", O_NOFOLLOW, 0, &f), -ELOOP);
    /* A dangling link is created through. */
    cr_assert_eq(vfs_symlink(&w.c, "made", NULL, "/dangling"), 0);
    cr_assert_eq(w_write_file(&w, "/dangling", "y"), 0);
    cr_assert_eq(w_read_file(&w, "/made", buf, sizeof(buf)), 1);
}

Test(vfs_namei, resolve_flags_keep_the_walk_inside)
{
    struct path d, out;
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/d", 0755), 0);
    cr_assert_eq(w_write_file(&w, "/d/f", "x"), 0);
    cr_assert_eq(w_write_file(&w, "/secret", "x"), 0);
    cr_assert_eq(vfs_symlink(&w.c, "/secret", NULL, "/d/abs"), 0);
    cr_assert_eq(vfs_symlink(&w.c, "../secret", NULL, "/d/rel"), 0);
    cr_assert_eq(vfs_lookup(&w.c, NULL, "/d", 0, 0, &d), 0);
    cr_assert_eq(vfs_lookup(&w.c, &d, "abs", LOOKUP_FOLLOW, RESOLVE_BENEATH, &out), -EXDEV);
    cr_assert_eq(vfs_lookup(&w.c, &d, "rel", LOOKUP_FOLLOW, RESOLVE_BENEATH, &out), -EXDEV);
    cr_assert_eq(vfs_lookup(&w.c, &d, "../secret", LOOKUP_FOLLOW, RESOLVE_BENEATH, &out), -EXDEV);
    cr_assert_eq(vfs_lookup(&w.c, &d, "/f", LOOKUP_FOLLOW, RESOLVE_IN_ROOT, &out), 0);
    path_put(&out);
    cr_assert_eq(vfs_lookup(&w.c, &d, "rel", LOOKUP_FOLLOW, RESOLVE_IN_ROOT, &out), -ENOENT);
    cr_assert_eq(vfs_lookup(&w.c, &d, "abs", LOOKUP_FOLLOW, RESOLVE_NO_SYMLINKS, &out), -ELOOP);
    path_put(&d);
}

Test(vfs_namei, rename_replaces_exchanges_and_refuses)
{
    char buf[64];
    cr_assert_eq(w_write_file(&w, "/a", "A"), 0);
    cr_assert_eq(w_write_file(&w, "/b", "B"), 0);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/a", NULL, "/b", RENAME_NOREPLACE), -EEXIST);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/a", NULL, "/b", RENAME_EXCHANGE), 0);
    cr_assert_eq(w_read_file(&w, "/a", buf, sizeof(buf)), 1);
    cr_assert_str_eq(buf, "B");
    cr_assert_eq(vfs_rename(&w.c, NULL, "/a", NULL, "/b", 0), 0);
    cr_assert_eq(w_read_file(&w, "/b", buf, sizeof(buf)), 1);
    cr_assert_str_eq(buf, "B");
    cr_assert_eq(w_read_file(&w, "/a", buf, sizeof(buf)), -ENOENT);
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/d", 0755), 0);
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/d/e", 0755), 0);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/d", NULL, "/d/e/f", 0), -EINVAL);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/d/e", NULL, "/d", 0), -ENOTEMPTY);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/b", NULL, "/d", 0), -EISDIR);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/d", NULL, "/b", 0), -ENOTDIR);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/b", NULL, "/d/e/b", RENAME_WHITEOUT), 0);
    struct statx st;
    cr_assert_eq(w_stat(&w, "/b", false, &st), 0);
    cr_assert_eq(st.stx_mode & S_IFMT, S_IFCHR);
    cr_assert_eq(vfs_rename(&w.c, NULL, "/d/e", NULL, "/e", 0), 0);
    cr_assert_eq(w_read_file(&w, "/e/b", buf, sizeof(buf)), 1);
}

Test(vfs_namei, permissions_are_those_of_the_caller)
{
    struct file *f;
    struct statx st;
    cr_assert_eq(w_write_file(&w, "/private", "x"), 0);
    struct path p;
    cr_assert_eq(vfs_lookup(&w.c, NULL, "/private", 0, 0, &p), 0);
    struct iattr mode = {.valid = ATTR_MODE, .mode = 0600};
    cr_assert_eq(vfs_setattr(&w.c, &p, &mode), 0);
    w.cred->fsuid = w.cred->euid = 1000;
    w.cred->fsgid = 1000;
    w.cred->cap_effective = 0;
    cr_assert_eq(w_open(&w, "/private", O_RDONLY, 0, &f), -EACCES);
    cr_assert_eq(vfs_setattr(&w.c, &p, &mode), -EPERM);
    path_put(&p);
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/private"), -EPERM, "the root is sticky");
    cr_assert_eq(w_write_file(&w, "/mine", "x"), 0);
    cr_assert_eq(w_stat(&w, "/mine", true, &st), 0);
    cr_assert_eq(st.stx_uid, 1000);
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/mine"), 0);
}

Test(vfs_namei, unlinked_files_live_on_and_say_so)
{
    struct file *f;
    char buf[64];
    struct path root;
    cr_assert_eq(w_write_file(&w, "/f", "abc"), 0);
    cr_assert_eq(w_open(&w, "/f", O_RDONLY, 0, &f), 0);
    fs_get_root(w.c.fs, &root);
    cr_assert_eq(vfs_path_name(&f->path, &root, buf, sizeof(buf), true), 2);
    cr_assert_str_eq(buf, "/f");
    cr_assert_eq(vfs_unlink(&w.c, NULL, "/f"), 0);
    cr_assert_gt(vfs_path_name(&f->path, &root, buf, sizeof(buf), true), 0);
    cr_assert_str_eq(buf, "/f (deleted)");
    loff_t pos = 0;
    cr_assert_eq(file_read_host(f, &w.c, buf, 3, &pos), 3);
    file_put(f);
    path_put(&root);
}

Test(vfs_namei, mounts_cover_and_uncover)
{
    struct super_block *sb;
    struct path at, top;
    struct statx st;
    cr_assert_eq(vfs_mkdir(&w.c, NULL, "/m", 0755), 0);
    cr_assert_eq(w_write_file(&w, "/m/below", "x"), 0);
    cr_assert_eq(tmpfs_create(w.mf, "", &sb), 0);
    cr_assert_eq(vfs_lookup(&w.c, NULL, "/m", 0, 0, &at), 0);
    cr_assert_eq(mount_attach(sb, NULL, &at, "t", 0), 0);
    path_put(&at);
    super_put(sb);
    cr_assert_eq(w_stat(&w, "/m/below", true, &st), -ENOENT);
    cr_assert_eq(w_write_file(&w, "/m/above", "x"), 0);
    cr_assert_eq(vfs_rmdir(&w.c, NULL, "/m"), -EBUSY);
    cr_assert_eq(vfs_link(&w.c, NULL, "/m/above", NULL, "/x", 0), -EXDEV);
    cr_assert_eq(w_stat(&w, "/m/../m/above", true, &st), 0);
    cr_assert_eq(vfs_lookup(&w.c, NULL, "/m", 0, 0, &top), 0);
    cr_assert_eq(mount_detach(&top, 0), 0);
    path_put(&top);
    cr_assert_eq(w_stat(&w, "/m/below", true, &st), 0);
}

Test(vfs_namei, names_survive_eviction_from_the_cache)
{
    char name[32];
    struct statx st;
    for (int i = 0; i < 30000; i++) {
        snprintf(name, sizeof(name), "/missing%d", i);
        cr_assert_eq(w_stat(&w, name, true, &st), -ENOENT);
    }
    cr_assert_eq(w_write_file(&w, "/f", "x"), 0);
    for (int i = 0; i < 30000; i++) {
        snprintf(name, sizeof(name), "/absent%d", i);
        cr_assert_eq(w_stat(&w, name, true, &st), -ENOENT);
    }
    cr_assert_eq(w_stat(&w, "/f", true, &st), 0);
}
