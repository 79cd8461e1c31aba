/*
 * Credentials across execve(2), after capabilities(7), "Transformation of capabilities during execve()", and Linux's
 * security/commoncap.c for the cases that the manual leaves open.
 */
#include "sentry/kernel/exec.h"

#include "sentry/kernel/creds.h"
#include "vfs/cred.h"
#include "vfs/inode.h"
#include "vfs/mount.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/mount.h>

struct file_caps {
    bool present, effective;
    uint64_t permitted, inheritable;
};

static uint32_t le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The "security.capability" attribute. A malformed one is -EINVAL as in Linux; none is fine. */
static int read_file_caps(struct inode *inode, struct file_caps *fc)
{
    unsigned char raw[sizeof(struct vfs_ns_cap_data)];
    uint32_t magic;
    ssize_t n;

    *fc = (struct file_caps){0};
    if (!inode->ops || !inode->ops->getxattr)
        return 0;
    n = inode->ops->getxattr(inode, "security.capability", raw, sizeof(raw));
    if (n < 0)
        return 0;
    if (n < (ssize_t)sizeof(uint32_t))
        return -EINVAL;
    magic = le32(raw);
    switch (magic & VFS_CAP_REVISION_MASK) {
    case VFS_CAP_REVISION_1:
        if (n != XATTR_CAPS_SZ_1)
            return -EINVAL;
        break;
    case VFS_CAP_REVISION_2:
        if (n != XATTR_CAPS_SZ_2)
            return -EINVAL;
        break;
    case VFS_CAP_REVISION_3:
        if (n != XATTR_CAPS_SZ_3)
            return -EINVAL;
        if (le32(raw + XATTR_CAPS_SZ_2) != 0) /* for the root of another user namespace */
            return 0;
        break;
    default:
        return -EINVAL;
    }
    fc->present = true;
    fc->effective = magic & VFS_CAP_FLAGS_EFFECTIVE;
    fc->permitted = le32(raw + 4);
    fc->inheritable = le32(raw + 8);
    if (n > XATTR_CAPS_SZ_1) {
        fc->permitted |= (uint64_t)le32(raw + 12) << 32;
        fc->inheritable |= (uint64_t)le32(raw + 16) << 32;
    }
    fc->permitted &= CREDS_ALL_CAPS;
    fc->inheritable &= CREDS_ALL_CAPS;
    return 0;
}

static void apply_set_id(struct cred *c, const struct inode *inode)
{
    if (inode->mode & S_ISUID)
        c->euid = inode->uid;
    if ((inode->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        c->egid = inode->gid;
}

int exec_cred(const struct cred *old, struct file *file, struct cred **out, bool *secure)
{
    const struct inode *inode = file->inode;
    bool may_gain = !old->no_new_privs && !(file->path.mnt && file->path.mnt->flags & MS_NOSUID), effective = false, set_id;
    bool root_rules = !(old->securebits & SECBIT_NOROOT);
    struct file_caps fc = {0};
    struct cred *c = cred_dup(old);
    int r = 0;

    if (!c)
        return -ENOMEM;
    c->cap_permitted = 0;
    if (may_gain) {
        apply_set_id(c, inode);
        r = read_file_caps(file->inode, &fc);
        if (r)
            goto fail;
    }
    if (fc.present) {
        c->cap_permitted = (old->cap_bounding & fc.permitted) | (old->cap_inheritable & fc.inheritable);
        effective = fc.effective;
        if (effective && (fc.permitted & ~c->cap_permitted)) {
            r = -EPERM; /* it would run without capabilities that it counts on */
            goto fail;
        }
    }
    /* A set-user-ID-root file with capabilities of its own gives only those. */
    if (root_rules && !(fc.present && c->uid != 0 && c->euid == 0)) {
        if (c->euid == 0 || c->uid == 0)
            c->cap_permitted = old->cap_bounding | old->cap_inheritable;
        if (c->euid == 0)
            effective = true;
    }
    set_id = c->euid != old->uid || c->egid != old->gid;
    if (old->no_new_privs && (set_id || (c->cap_permitted & ~old->cap_permitted))) {
        c->euid = c->uid;
        c->egid = c->gid;
        c->cap_permitted &= old->cap_permitted;
    }
    c->suid = c->fsuid = c->euid;
    c->sgid = c->fsgid = c->egid;
    if (fc.present || set_id)
        c->cap_ambient = 0;
    c->cap_permitted |= c->cap_ambient;
    c->cap_effective = effective ? c->cap_permitted : c->cap_ambient;
    c->keep_caps = false;
    c->securebits &= ~(uint32_t)SECBIT_KEEP_CAPS;
    *secure =
        c->euid != old->uid || c->egid != old->gid || (c->uid != 0 && (effective || (c->cap_permitted & ~c->cap_ambient)));
    *out = c;
    return 0;
fail:
    cred_put(c);
    return r;
}
