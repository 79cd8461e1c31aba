/* What execve(2) makes of credentials; the cases of capabilities(7). */
#include "sentry/kernel/exec.h"

#include "vfs/cred.h"
#include "vfs/inode.h"
#include "vfs/mount.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/mount.h>

#define CHOWN (1ULL << CAP_CHOWN)
#define KILL  (1ULL << CAP_KILL)
#define NET   (1ULL << CAP_NET_RAW)

static unsigned char caps_xattr[20];
static ssize_t caps_xattr_len;

static ssize_t fake_getxattr(struct inode *inode, const char *name, void *buf, size_t size)
{
    if (caps_xattr_len == 0 || strcmp(name, "security.capability") != 0 || size < (size_t)caps_xattr_len)
        return -ENODATA;
    memcpy(buf, caps_xattr, (size_t)caps_xattr_len);
    return caps_xattr_len;
}

static const struct inode_ops fake_ops = {.getxattr = fake_getxattr};

struct program {
    struct mount mnt;
    struct inode inode;
    struct file file;
};

static struct file *program(struct program *p, mode_t mode, uid_t uid, gid_t gid)
{
    memset(p, 0, sizeof(*p));
    p->inode.ops = &fake_ops;
    p->inode.mode = S_IFREG | mode;
    p->inode.uid = uid;
    p->inode.gid = gid;
    p->file.inode = &p->inode;
    p->file.path.mnt = &p->mnt;
    caps_xattr_len = 0;
    return &p->file;
}

static void give_file_caps(uint32_t permitted, uint32_t inheritable, bool effective)
{
    const uint32_t words[] = {VFS_CAP_REVISION_2 | (effective ? VFS_CAP_FLAGS_EFFECTIVE : 0), permitted, inheritable, 0, 0};

    memcpy(caps_xattr, words, sizeof(words));
    caps_xattr_len = sizeof(words);
}

/* A user with all capabilities in the bounding set and none in the others. */
static struct cred *user(uid_t uid)
{
    struct cred *c = cred_create_root();

    c->uid = c->euid = c->suid = c->fsuid = uid;
    c->gid = c->egid = c->sgid = c->fsgid = uid;
    if (uid)
        c->cap_permitted = c->cap_effective = 0;
    return c;
}

Test(exec_cred, plain_program_keeps_ids_and_loses_capabilities)
{
    struct program p;
    struct cred *old = user(1000), *c;
    bool secure;

    old->cap_permitted = old->cap_effective = KILL;
    cr_assert_eq(exec_cred(old, program(&p, 0755, 0, 0), &c, &secure), 0);
    cr_assert_eq(c->euid, 1000);
    cr_assert_eq(c->cap_permitted, 0);
    cr_assert_eq(c->cap_effective, 0);
    cr_assert_not(secure);
}

Test(exec_cred, root_gets_the_bounding_set)
{
    struct program p;
    struct cred *old = user(0), *c;
    bool secure;

    old->cap_bounding = KILL | CHOWN;
    old->cap_permitted = old->cap_effective = KILL;
    old->cap_inheritable = NET;
    cr_assert_eq(exec_cred(old, program(&p, 0755, 0, 0), &c, &secure), 0);
    cr_assert_eq(c->cap_permitted, KILL | CHOWN | NET);
    cr_assert_eq(c->cap_effective, c->cap_permitted);
    cr_assert_not(secure);
}

Test(exec_cred, noroot_makes_root_an_ordinary_user)
{
    struct program p;
    struct cred *old = user(0), *c;
    bool secure;

    old->securebits = SECBIT_NOROOT;
    cr_assert_eq(exec_cred(old, program(&p, 0755, 0, 0), &c, &secure), 0);
    cr_assert_eq(c->cap_permitted, 0);
}

Test(exec_cred, set_user_id)
{
    struct program p;
    struct cred *old = user(1000), *c;
    bool secure;

    cr_assert_eq(exec_cred(old, program(&p, 04755, 77, 0), &c, &secure), 0);
    cr_assert_eq(c->uid, 1000);
    cr_assert_eq(c->euid, 77);
    cr_assert_eq(c->suid, 77);
    cr_assert_eq(c->fsuid, 77);
    cr_assert(secure);

    cr_assert_eq(exec_cred(old, program(&p, 04755, 0, 0), &c, &secure), 0);
    cr_assert_eq(c->cap_effective, old->cap_bounding);
}

Test(exec_cred, set_group_id_needs_group_execute)
{
    struct program p;
    struct cred *old = user(1000), *c;
    bool secure;

    cr_assert_eq(exec_cred(old, program(&p, 02755, 0, 88), &c, &secure), 0);
    cr_assert_eq(c->egid, 88);
    cr_assert_eq(exec_cred(old, program(&p, 02745, 0, 88), &c, &secure), 0);
    cr_assert_eq(c->egid, 1000);
}

Test(exec_cred, nosuid_and_no_new_privs_give_nothing)
{
    struct program p;
    struct cred *old = user(1000), *c;
    struct file *f = program(&p, 06755, 0, 0);
    bool secure;

    p.mnt.flags = MS_NOSUID;
    give_file_caps((uint32_t)KILL, 0, true);
    cr_assert_eq(exec_cred(old, f, &c, &secure), 0);
    cr_assert_eq(c->euid, 1000);
    cr_assert_eq(c->cap_permitted, 0);
    p.mnt.flags = 0;
    old->no_new_privs = true;
    cr_assert_eq(exec_cred(old, f, &c, &secure), 0);
    cr_assert_eq(c->euid, 1000);
    cr_assert_eq(c->egid, 1000);
    cr_assert_eq(c->cap_permitted, 0);
    cr_assert_not(secure);
}

Test(exec_cred, file_capabilities)
{
    struct program p;
    struct cred *old = user(1000), *c;
    struct file *f = program(&p, 0755, 0, 0);
    bool secure;

    give_file_caps((uint32_t)KILL, (uint32_t)NET, true);
    old->cap_inheritable = NET | CHOWN;
    cr_assert_eq(exec_cred(old, f, &c, &secure), 0);
    cr_assert_eq(c->cap_permitted, KILL | NET);
    cr_assert_eq(c->cap_effective, KILL | NET);
    cr_assert(secure);
    /* Not marked effective: permitted only. */
    give_file_caps((uint32_t)KILL, 0, false);
    cr_assert_eq(exec_cred(old, f, &c, &secure), 0);
    cr_assert_eq(c->cap_permitted, KILL);
    cr_assert_eq(c->cap_effective, 0);
    /* A program that counts on more than the bounding set has must not start. */
    give_file_caps((uint32_t)KILL, 0, true);
    old->cap_bounding = CHOWN;
    cr_assert_eq(exec_cred(old, f, &c, &secure), -EPERM);
    caps_xattr_len = 7;
    cr_assert_eq(exec_cred(old, f, &c, &secure), -EINVAL);
}

Test(exec_cred, ambient_capabilities_survive_plain_programs_only)
{
    struct program p;
    struct cred *old = user(1000), *c;
    struct file *f = program(&p, 0755, 0, 0);
    bool secure;

    old->cap_permitted = old->cap_inheritable = old->cap_ambient = NET;
    cr_assert_eq(exec_cred(old, f, &c, &secure), 0);
    cr_assert_eq(c->cap_permitted, NET);
    cr_assert_eq(c->cap_effective, NET);
    cr_assert_eq(c->cap_ambient, NET);
    cr_assert_not(secure);
    cr_assert_eq(exec_cred(old, program(&p, 04755, 77, 0), &c, &secure), 0);
    cr_assert_eq(c->cap_ambient, 0);
    cr_assert_eq(c->cap_permitted, 0);
}

Test(exec_cred, keep_caps_ends)
{
    struct program p;
    struct cred *old = user(1000), *c;
    bool secure;

    old->keep_caps = true;
    old->securebits = SECBIT_KEEP_CAPS;
    cr_assert_eq(exec_cred(old, program(&p, 0755, 0, 0), &c, &secure), 0);
    cr_assert_not(c->keep_caps);
    cr_assert_eq(c->securebits, 0);
}
