/*
 * The container's file system: its root, then the spec's mounts in order, then what is hidden or made read-only, as runc does
 * it. Mount points that are missing are made, inside the container's root: symlinks in the image lead nowhere else. Bind mounts
 * get a hostfs of their own on the descriptor that the CLI opened; the sentry itself opens no host path.
 */
#include "sentry/boot/boot_internal.h"

#include "lib/log.h"
#include "sentry/fs/fs.h"
#include "vfs/fs_type.h"
#include "vfs/hostfs/hostfs.h"
#include "vfs/namei.h"
#include "vfs/overlay/overlay.h"
#include "vfs/tmpfs/tmpfs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

/* Flags of mount(2) that belong to the mount and not to the file system. */
#define MOUNT_FLAGS \
    (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME | MS_NOSYMFOLLOW)
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

/* A layer in memory on top of the host's tree. */
static int make_overlay(struct sandbox *sb, struct super_block *host, struct super_block **out)
{
    struct super_block *lowers[] = {host}, *upper;
    int r = tmpfs_create(sb->memfile, "", &upper);

    if (r < 0)
        return r;
    r = overlay_create(lowers, 1, upper, out);
    super_put(upper);
    return r;
}

static int make_root(struct sandbox *sb, struct error *e)
{
    const struct container_spec *s = sb->spec;
    struct super_block *host, *root;
    struct hostfs_options ho = {.readonly = s->root_kind == SPEC_ROOT_OVERLAY};
    int r = hostfs_create(s->root_fd, &ho, &host);

    if (r < 0)
        return error_set(e, -r, "root file system %s", s->root_path);
    root = host;
    if (s->root_kind == SPEC_ROOT_HOST)
        sb->root = super_get(host);
    if (s->root_kind == SPEC_ROOT_OVERLAY) {
        r = make_overlay(sb, host, &root);
        super_put(host);
        if (r < 0)
            return error_set(e, -r, "root overlay");
    }
    r = mnt_namespace_create(root, s->root_path, MS_RELATIME, &sb->k->mnt_ns);
    super_put(root);
    if (r < 0)
        return error_set(e, -r, "root mount");
    sb->fs = fs_struct_create(sb->k->mnt_ns);
    if (!sb->fs)
        return error_set(e, ENOMEM, "root mount");
    sb->caller.fs = sb->fs;
    return 0;
}

/* Makes `path` below the container's root: every missing directory, and at the end a directory or an empty file. */
static int make_mountpoint(struct sandbox *sb, const char *path, bool directory)
{
    char buf[PATH_MAX];
    int r;

    if (snprintf(buf, sizeof(buf), "%s", path) >= (int)sizeof(buf))
        return -ENAMETOOLONG;
    for (char *s = buf + 1;; s++) {
        char old = *s;

        if (old != '/' && old != '\0')
            continue;
        *s = '\0';
        if (old || directory)
            r = vfs_mkdir(&sb->caller, NULL, buf, 0755);
        else
            r = vfs_mknod(&sb->caller, NULL, buf, S_IFREG | 0644, 0);
        /* What is in the way shows when the mount point is looked up. */
        if (!old)
            return r == -EEXIST ? 0 : r;
        *s = old;
        while (s[1] == '/')
            s++;
    }
}

static int find_mountpoint(struct sandbox *sb, const char *path, bool directory, struct path *out)
{
    int r = vfs_lookup(&sb->caller, NULL, path, LOOKUP_FOLLOW, 0, out);

    if (r != -ENOENT)
        return r;
    r = make_mountpoint(sb, path, directory);
    return r < 0 ? r : vfs_lookup(&sb->caller, NULL, path, LOOKUP_FOLLOW, 0, out);
}

static int make_super(struct sandbox *sb, const struct spec_mount *m, struct super_block **out)
{
    const struct fs_type *type;

    if (m->bind) {
        /* Whoever gave it to us changes it meanwhile. */
        struct hostfs_options ho = {
            .readonly = m->flags & MS_RDONLY, .shared = true, .origin = m->source[0] == '/' ? m->source : NULL};
        return hostfs_create(m->source_fd, &ho, out);
    }
    type = fs_type_find(m->type);
    return type ? type->create(type, &sb->caller, m->source, m->data, out) : -ENODEV;
}

static int remount_one(struct sandbox *sb, const struct spec_mount *m, struct error *e)
{
    struct path at = {0};
    int r = vfs_lookup(&sb->caller, NULL, m->destination, LOOKUP_FOLLOW, 0, &at);

    if (r == 0)
        r = mount_remount(&at, m->flags & MOUNT_FLAGS);
    path_put(&at);
    return r < 0 ? error_set(e, -r, "remount %s", m->destination) : 0;
}

static int mount_one(struct sandbox *sb, const struct spec_mount *m, struct error *e)
{
    bool is_dev = strcmp(m->destination, "/dev") == 0 && !m->bind;
    struct super_block *super = NULL;
    struct path at = {0}, top = {0};
    bool directory;
    int r;

    if (m->remount)
        return remount_one(sb, m, e);
    r = make_super(sb, m, &super);
    if (r < 0)
        return error_set(e, -r, "mount %s on %s", m->type, m->destination);
    directory = S_ISDIR(super->root->inode->mode);
    r = find_mountpoint(sb, m->destination, directory, &at);
    if (r == 0 && S_ISDIR(at.dentry->inode->mode) != directory)
        r = directory ? -ENOTDIR : -EISDIR;
    if (r == 0)
        r = mount_attach(super, NULL, &at, m->source[0] ? m->source : m->type, m->flags & MOUNT_FLAGS);
    if (r == 0 && (is_dev || m->propagation || m->copy_up))
        r = vfs_lookup(&sb->caller, NULL, m->destination, LOOKUP_FOLLOW, 0, &top);
    if (r == 0 && m->copy_up && directory)
        r = boot_copy_tree(sb, &at, &top, 0);
    if (r == 0 && is_dev)
        r = devfs_populate(&sb->caller, &top);
    if (r == 0 && m->propagation)
        r = mount_set_propagation(&top, m->propagation);
    path_put(&top);
    path_put(&at);
    super_put(super);
    return r < 0 ? error_set(e, -r, "mount %s on %s", m->type, m->destination) : 0;
}

/* Nodes of the spec; one of those that are there already is made anew, for its owner and mode. */
static int make_device(struct sandbox *sb, const struct spec_device *d, struct error *e)
{
    const struct iattr attr = {.valid = ATTR_MODE | ATTR_UID | ATTR_GID, .mode = d->mode & 07777, .uid = d->uid, .gid = d->gid};
    char parent[PATH_MAX];
    struct path p = {0};
    char *slash;
    int r;

    snprintf(parent, sizeof(parent), "%s", d->path);
    slash = strrchr(parent, '/');
    if (slash && slash != parent) {
        *slash = '\0';
        r = make_mountpoint(sb, parent, true);
        if (r < 0)
            return error_set(e, -r, "device %s", d->path);
    }
    r = vfs_mknod(&sb->caller, NULL, d->path, d->mode, makedev(d->major, d->minor));
    if (r == -EEXIST)
        r = 0;
    if (r == 0)
        r = vfs_lookup(&sb->caller, NULL, d->path, 0, 0, &p);
    if (r == 0)
        r = vfs_setattr(&sb->caller, &p, &attr);
    path_put(&p);
    return r < 0 ? error_set(e, -r, "device %s", d->path) : 0;
}

static int set_sysctls(struct sandbox *sb, struct error *e)
{
    const struct container_spec *s = sb->spec;

    for (size_t i = 0; i < s->nr_sysctls; i++) {
        int r = proc_sysctl_set(sb->k, &sb->caller, s->sysctls[i].name, s->sysctls[i].value);
        if (r < 0)
            return error_set(e, -r, "sysctl %s", s->sysctls[i].name);
    }
    return 0;
}

static bool has_mount(const struct container_spec *s, const char *destination)
{
    for (size_t i = 0; i < s->nr_mounts; i++)
        if (strcmp(s->mounts[i].destination, destination) == 0)
            return true;
    return false;
}

/* A missing path needs no hiding. A directory is covered by an empty one, a file by /dev/null. */
static int mask_path(struct sandbox *sb, const char *path, struct error *e)
{
    struct path at = {0}, null = {0};
    struct super_block *empty;
    int r = vfs_lookup(&sb->caller, NULL, path, LOOKUP_FOLLOW, 0, &at);

    if (r == -ENOENT || r == -ENOTDIR)
        return 0;
    if (r == 0 && S_ISDIR(at.dentry->inode->mode)) {
        r = tmpfs_create(sb->memfile, "size=0,mode=0755", &empty);
        if (r == 0) {
            r = mount_attach(empty, NULL, &at, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
            super_put(empty);
        }
    } else if (r == 0) {
        r = vfs_lookup(&sb->caller, NULL, "/dev/null", LOOKUP_FOLLOW, 0, &null);
        if (r == 0)
            r = mount_bind(&null, &at, false, 0);
    }
    path_put(&null);
    path_put(&at);
    return r < 0 ? error_set(e, -r, "mask %s", path) : 0;
}

static int make_readonly(struct sandbox *sb, const char *path, struct error *e)
{
    struct path at = {0};
    int r = vfs_lookup(&sb->caller, NULL, path, LOOKUP_FOLLOW, 0, &at);

    if (r == -ENOENT || r == -ENOTDIR)
        return 0;
    if (r == 0)
        r = mount_bind(&at, &at, true, 0);
    path_put(&at);
    if (r == 0)
        r = vfs_lookup(&sb->caller, NULL, path, LOOKUP_FOLLOW, 0, &at);
    if (r == 0)
        r = mount_remount(&at, (at.mnt->flags & MOUNT_FLAGS) | MS_RDONLY);
    path_put(&at);
    return r < 0 ? error_set(e, -r, "make %s read-only", path) : 0;
}

static int finish_root(struct sandbox *sb, struct error *e)
{
    const struct container_spec *s = sb->spec;
    struct path root = {0};
    int r = 0;

    mnt_namespace_root(sb->k->mnt_ns, &root);
    if (s->root_propagation)
        r = mount_set_propagation(&root, s->root_propagation);
    if (r == 0 && s->root_readonly)
        r = mount_remount(&root, MS_RDONLY | MS_RELATIME);
    path_put(&root);
    return r < 0 ? error_set(e, -r, "root mount") : 0;
}

int boot_rootfs(struct sandbox *sb, struct error *e)
{
    static const struct spec_mount dev = {
        .destination = "/dev", .type = "tmpfs", .source = "tmpfs", .data = "mode=755", .flags = MS_NOSUID, .source_fd = -1};
    const struct container_spec *s = sb->spec;
    int r = make_root(sb, e);

    if (r == 0 && !has_mount(s, "/dev"))
        r = mount_one(sb, &dev, e);
    for (size_t i = 0; r == 0 && i < s->nr_mounts; i++)
        r = mount_one(sb, &s->mounts[i], e);
    for (size_t i = 0; r == 0 && i < s->nr_devices; i++)
        r = make_device(sb, &s->devices[i], e);
    if (r == 0)
        r = set_sysctls(sb, e);
    for (const char **p = s->masked_paths; r == 0 && p && *p; p++)
        r = mask_path(sb, *p, e);
    for (const char **p = s->readonly_paths; r == 0 && p && *p; p++)
        r = make_readonly(sb, *p, e);
    return r < 0 ? r : finish_root(sb, e);
}
