/*
 * Threads that do all kinds of things to the same few names, descriptors and mounts at once. There is little to assert but that
 * nothing crashes, deadlocks or leaks; under ThreadSanitizer also that nothing races.
 */
#include "tests/unit/vfs_test_util.h"

#include "vfs/inotify.h"
#include "vfs/locks.h"
#include "vfs/overlay/overlay.h"

#include <criterion/criterion.h>
#include <linux/fs.h>
#include <pthread.h>
#include <time.h>

#define THREADS 4

static struct world w;
static struct fdtable *fds;
static struct file *watcher;
static atomic_bool stop;
static atomic_ulong ops;

static unsigned int pick(unsigned int *seed, unsigned int n)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % n;
}

static const char *const names[] = {"/a", "/b", "/d", "/d/a", "/d/b", "/d/e", "/d/e/a", "/l", "/m", "/m/a", "/t", "/t/x"};

static const char *name_of(unsigned int *seed)
{
    return names[pick(seed, ARRAY_SIZE(names))];
}

static void open_and_use(unsigned int *seed, struct vfs_caller *c)
{
    static const int modes[] = {O_RDONLY, O_RDWR | O_CREAT,   O_RDWR | O_CREAT | O_TRUNC, O_RDONLY | O_DIRECTORY,
                                O_PATH,   O_WRONLY | O_APPEND};
    struct open_how how = {.flags = (uint64_t)modes[pick(seed, ARRAY_SIZE(modes))], .mode = 0644};
    struct file *f;
    char buf[9000];
    loff_t pos = pick(seed, 20000);

    if (vfs_open(c, NULL, name_of(seed), &how, &f) < 0)
        return;
    if (f->mode & FMODE_WRITE) {
        memset(buf, 1, sizeof(buf));
        (void)!file_write_host(f, c, buf, pick(seed, sizeof(buf)), &pos);
        (void)!vfs_ftruncate(c, f, pick(seed, 20000));
    }
    pos = 0;
    if (f->mode & FMODE_READ && S_ISREG(f->inode->mode))
        (void)!file_read_host(f, c, buf, sizeof(buf), &pos);
    struct lock_request req = {.kind = pick(seed, 3), .type = F_WRLCK, .start = pick(seed, 5), .end = 10, .tgid = c->tgid};
    if (!(f->mode & FMODE_PATH) && locks_set(f, &req) == 0 && pick(seed, 2)) {
        req.type = F_UNLCK;
        (void)!locks_set(f, &req);
    }
    int fd = fd_install(fds, f, 0, false, 64);
    file_put(f);
    if (fd >= 0 && pick(seed, 4))
        fd_close(fds, c, fd);
}

static bool count_entry(struct dir_context *dc, const char *name, size_t len, uint64_t ino, unsigned int type, loff_t next)
{
    return true;
}

static void one_op(unsigned int *seed, struct vfs_caller *c)
{
    struct statx st;
    struct path p;
    char buf[64];

    switch (pick(seed, 16)) {
    case 0:
        (void)!vfs_mkdir(c, NULL, name_of(seed), 0755);
        break;
    case 1:
        (void)!vfs_rmdir(c, NULL, name_of(seed));
        break;
    case 2:
        (void)!vfs_unlink(c, NULL, name_of(seed));
        break;
    case 3:
        (void)!vfs_rename(c, NULL, name_of(seed), NULL, name_of(seed), pick(seed, 3) ? 0 : RENAME_EXCHANGE);
        break;
    case 4:
        (void)!vfs_symlink(c, name_of(seed), NULL, name_of(seed));
        break;
    case 5:
        (void)!vfs_link(c, NULL, name_of(seed), NULL, name_of(seed), 0);
        break;
    case 6: {
        struct file *f = fd_get_raw(fds, (int)pick(seed, 64));
        if (f) {
            struct path root;
            fs_get_root(c->fs, &root);
            (void)!vfs_path_name(&f->path, &root, buf, sizeof(buf), true);
            path_put(&root);
            file_put(f);
        }
        break;
    }
    case 7:
        fd_close(fds, c, (int)pick(seed, 64));
        break;
    case 8: {
        struct dir_context dc = {.emit = count_entry};
        struct open_how how = {.flags = O_RDONLY | O_DIRECTORY};
        struct file *f;
        if (vfs_open(c, NULL, pick(seed, 2) ? "/" : "/d", &how, &f) == 0) {
            (void)!vfs_iterate(f, c, &dc);
            file_put(f);
        }
        break;
    }
    case 9:
        if (vfs_lookup(c, NULL, name_of(seed), LOOKUP_FOLLOW, 0, &p) == 0) {
            struct iattr attr = {.valid = ATTR_MODE | ATTR_MTIME_NOW, .mode = 0600 + pick(seed, 0200)};
            (void)!vfs_setattr(c, &p, &attr);
            path_put(&p);
        }
        break;
    case 10:
        if (vfs_lookup(c, NULL, name_of(seed), 0, 0, &p) == 0) {
            int wd = inotify_add_watch_path(watcher, p.dentry->inode, IN_ALL_EVENTS);
            path_put(&p);
            if (pick(seed, 2))
                (void)!inotify_rm_watch_wd(watcher, wd);
        }
        break;
    case 11: {
        char events[4096];
        loff_t none = 0;
        (void)!file_read_host(watcher, c, events, sizeof(events), &none);
        break;
    }
    case 12:
        if (vfs_lookup(c, NULL, "/m", LOOKUP_DIRECTORY, 0, &p) == 0) {
            struct super_block *sb;
            if (pick(seed, 2) && tmpfs_create(w.mf, "", &sb) == 0) {
                (void)!mount_attach(sb, NULL, &p, "x", 0);
                super_put(sb);
            } else {
                (void)!mount_detach(&p, pick(seed, 2) ? 2 : 0);
            }
            path_put(&p);
        }
        break;
    default:
        open_and_use(seed, c);
    }
    if (vfs_lookup(c, NULL, name_of(seed), LOOKUP_FOLLOW, 0, &p) == 0) {
        cr_assert_eq(vfs_getattr(&p, 0, &st), 0);
        path_put(&p);
    }
    atomic_fetch_add(&ops, 1);
}

static void *worker(void *arg)
{
    unsigned int seed = (unsigned int)(uintptr_t)arg;
    struct vfs_caller c = w.c;
    c.tgid = (int32_t)seed;
    while (!atomic_load(&stop))
        one_op(&seed, &c);
    return NULL;
}

static void run_threads(void)
{
    pthread_t t[THREADS];
    struct timespec second = {1, 0};
    cr_assert_eq(fdtable_create(&fds), 0);
    cr_assert_eq(inotify_create(O_NONBLOCK, 0, &watcher), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, worker, (void *)(i + 1));
    nanosleep(&second, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    fdtable_put(fds, &w.c);
    file_put(watcher);
    cr_assert_gt(atomic_load(&ops), 100);
}

Test(vfs_stress, everything_at_once_on_tmpfs)
{
    world_init(&w);
    run_threads();
    world_fini(&w);
}

Test(vfs_stress, everything_at_once_on_hostfs_and_overlay)
{
    char host[] = "/tmp/vfs-stress-XXXXXX", cmd[64];
    struct hostfs_options opt = {0};
    struct super_block *lower, *upper, *sb;

    cr_assert_not_null(mkdtemp(host));
    int fd = open(host, O_PATH | O_DIRECTORY);
    cr_assert_eq(hostfs_create(fd, &opt, &lower), 0);
    close(fd);
    cr_assert_eq(memfile_create(1ULL << 32, &w.mf), 0);
    super_get(lower);
    world_init_on(&w, lower); /* first the tree itself */
    run_threads();
    fs_struct_put(w.c.fs);
    mnt_namespace_put(w.ns);
    cred_put(w.cred);
    atomic_store(&stop, false);
    cr_assert_eq(tmpfs_create(w.mf, "", &upper), 0);
    cr_assert_eq(overlay_create(&lower, 1, upper, &sb), 0);
    super_put(lower);
    super_put(upper);
    world_init_on(&w, sb); /* then what is left of it, from above */
    run_threads();
    world_fini(&w);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", host);
    cr_assert_eq(system(cmd), 0);
}
