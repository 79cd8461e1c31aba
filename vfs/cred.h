/*
 * Credentials: immutable once published, shared by reference. To change them, duplicate, edit the copy, and swap the pointer.
 */
#ifndef VFS_CRED_H
#define VFS_CRED_H

#include "lib/refcount.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cred {
    struct refcount ref;
    uid_t uid, euid, suid, fsuid;
    gid_t gid, egid, sgid, fsgid;
    uint64_t cap_permitted, cap_effective, cap_inheritable, cap_bounding, cap_ambient; /* bit n is capability n */
    uint32_t securebits;
    bool no_new_privs;
    bool keep_caps;
    size_t nr_groups;
    gid_t *groups; /* sorted, owned */
};

struct cred *cred_create_root(void);         /* uid 0, every capability, no supplementary groups; NULL when out of memory */
struct cred *cred_dup(const struct cred *c); /* a private copy to edit; NULL when out of memory */
struct cred *cred_get(struct cred *c);
void cred_put(struct cred *c);
/* Replaces the supplementary groups of an unpublished cred by a sorted copy; 0 or -ENOMEM. */
int must_check cred_set_groups(struct cred *c, const gid_t *groups, size_t n);
bool cred_has_cap(const struct cred *c, int cap);    /* in the effective set */
bool cred_in_group(const struct cred *c, gid_t gid); /* fsgid or supplementary */

#endif
