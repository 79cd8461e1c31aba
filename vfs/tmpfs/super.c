/* tmpfs superblocks: mount options, limits, statfs, and the end of inodes. */
#include "lib/memfile.h"
#include "vfs/fs_type.h"
#include "vfs/tmpfs/tmpfs_internal.h"

#include <ctype.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void tmpfs_evict(struct inode *inode) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    struct tmpfs_inode *ti = tmpfs_i(inode);
    if (!ti)
        return;
    tmpfs_free_data(inode);
    simple_xattrs_fini(&ti->xattrs);
    mutex_fini(&ti->pages_lock);
    mutex_fini(&ti->xattr_lock);
    free(ti->link);
    free(ti);
    atomic_fetch_sub(&tmpfs_sb(inode->sb)->nr_inodes, 1);
}

static int tmpfs_statfs(struct super_block *sb, struct statfs *out)
{
    struct tmpfs_super *ts = tmpfs_sb(sb);
    uint64_t pages = atomic_load(&ts->nr_pages), inodes = atomic_load(&ts->nr_inodes);
    out->f_blocks = ts->max_pages;
    out->f_bfree = out->f_bavail = ts->max_pages > pages ? ts->max_pages - pages : 0;
    out->f_files = ts->max_inodes;
    out->f_ffree = ts->max_inodes > inodes ? ts->max_inodes - inodes : 0;
    return 0;
}

static void tmpfs_put_super(struct super_block *sb)
{
    free(sb->priv);
}

static void tmpfs_show_options(struct super_block *sb, char *buf, size_t len)
{
    struct tmpfs_super *ts = tmpfs_sb(sb);
    int n = 0;
    buf[0] = 0;
    if (ts->max_pages)
        n += snprintf(buf + n, len - (size_t)n, ",size=%lluk", (unsigned long long)ts->max_pages * (MEMFILE_PAGE / 1024));
    if (ts->max_inodes && (size_t)n < len)
        n += snprintf(buf + n, len - (size_t)n, ",nr_inodes=%llu", (unsigned long long)ts->max_inodes);
    if (ts->mode != (01777) && (size_t)n < len)
        n += snprintf(buf + n, len - (size_t)n, ",mode=%03o", ts->mode);
    if (ts->uid && (size_t)n < len)
        n += snprintf(buf + n, len - (size_t)n, ",uid=%u", ts->uid);
    if (ts->gid && (size_t)n < len)
        snprintf(buf + n, len - (size_t)n, ",gid=%u", ts->gid);
}

static const struct super_ops tmpfs_super_ops = {
    .evict_inode = tmpfs_evict,
    .statfs = tmpfs_statfs,
    .put_super = tmpfs_put_super,
    .show_options = tmpfs_show_options,
};

static uint64_t half_of_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    return pages > 0 ? (uint64_t)pages / 2 : 0;
}

/* "64m", "1g", "10k", plain; with `percent` also "50%" of memory in bytes. */
static bool parse_size(const char *s, bool percent, uint64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)*s))
        return false;
    errno = 0;
    uint64_t v = strtoull(s, &end, 0);
    if (errno)
        return false;
    if (percent && *end == '%') {
        *out = half_of_memory() * 2 / 100 * v * MEMFILE_PAGE;
        return end[1] == 0;
    }
    unsigned int shift = 0;
    switch (tolower((unsigned char)*end)) {
    case 'e':
        shift += 10; /* fall through */
    case 'p':
        shift += 10; /* fall through */
    case 't':
        shift += 10; /* fall through */
    case 'g':
        shift += 10; /* fall through */
    case 'm':
        shift += 10; /* fall through */
    case 'k':
        shift += 10;
        end++;
    }
    *out = shift && v >> (64 - shift) ? UINT64_MAX : v << shift;
    return *end == 0;
}

static bool parse_number(const char *s, int base, unsigned long max, unsigned long *out)
{
    char *end;
    *out = strtoul(s, &end, base);
    return *s && *end == 0 && *out <= max;
}

static bool parse_option(struct tmpfs_super *ts, const char *key, const char *value)
{
    static const char *const ignored[] = {"huge", "mpol", "noswap", "inode32", "inode64", "usrquota", "grpquota"};
    uint64_t v;
    unsigned long n;

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        if (strcmp(key, ignored[i]) == 0)
            return true;
    if (!value)
        return *key == 0;
    if (strcmp(key, "size") == 0 && parse_size(value, true, &v)) {
        ts->max_pages = v / MEMFILE_PAGE + (v % MEMFILE_PAGE != 0);
        return true;
    }
    if (strcmp(key, "nr_blocks") == 0 && parse_size(value, false, &v)) {
        ts->max_pages = v;
        return true;
    }
    if (strcmp(key, "nr_inodes") == 0 && parse_size(value, false, &v)) {
        ts->max_inodes = v;
        return true;
    }
    if (strcmp(key, "mode") == 0 && parse_number(value, 8, 07777, &n)) {
        ts->mode = (mode_t)n;
        return true;
    }
    if (strcmp(key, "uid") == 0 && parse_number(value, 10, UINT32_MAX, &n)) {
        ts->uid = (uid_t)n;
        return true;
    }
    if (strcmp(key, "gid") == 0 && parse_number(value, 10, UINT32_MAX, &n)) {
        ts->gid = (gid_t)n;
        return true;
    }
    return false;
}

static int parse_options(struct tmpfs_super *ts, const char *options)
{
    char *copy = strdup(options), *save = NULL;
    int err = copy ? 0 : -ENOMEM;
    for (char *opt = copy ? strtok_r(copy, ",", &save) : NULL; opt && err == 0; opt = strtok_r(NULL, ",", &save)) {
        char *value = strchr(opt, '=');
        if (value)
            *value++ = 0;
        if (!parse_option(ts, opt, value))
            err = -EINVAL;
    }
    free(copy);
    return err;
}

int tmpfs_create(struct memfile *mf, const char *options, struct super_block **out)
{
    struct tmpfs_super *ts = calloc(1, sizeof(*ts));
    struct super_block *sb;
    struct inode *root;

    if (!ts)
        return -ENOMEM;
    ts->mode = 01777;
    ts->max_pages = half_of_memory();
    ts->max_inodes = 0;
    int err = parse_options(ts, options);
    if (err == 0)
        err = super_create("tmpfs", &tmpfs_super_ops, TMPFS_MAGIC, &sb);
    if (err < 0) {
        free(ts);
        return err;
    }
    sb->priv = ts;
    sb->mf = mf;
    err = tmpfs_inode_create(sb, NULL, S_IFDIR | ts->mode, NULL, &root);
    if (err == 0) {
        root->uid = ts->uid;
        root->gid = ts->gid;
        sb->root = dentry_create_root(root);
        err = sb->root ? 0 : -ENOMEM;
    }
    if (err < 0) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}

static int tmpfs_mount(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                       struct super_block **out)
{
    return tmpfs_create(type->arg, data, out);
}

void tmpfs_register(struct memfile *mf)
{
    static struct fs_type tmpfs_type = {.name = "tmpfs", .create = tmpfs_mount};
    static struct fs_type ramfs_type = {.name = "ramfs", .create = tmpfs_mount};
    tmpfs_type.arg = ramfs_type.arg = mf;
    fs_type_register(&tmpfs_type);
    fs_type_register(&ramfs_type);
}
