/*
 * Private to vfs/: the path walk, one step at a time. vfs_lookup() runs it to the end; operations that make or remove names
 * stop before the last component.
 */
#ifndef VFS_WALK_H
#define VFS_WALK_H

#include "vfs/namei.h"

enum last_type { LAST_NORM, LAST_DOT, LAST_DOTDOT, LAST_ROOT /* nothing was left: "/" */ };

struct walk {
    const struct vfs_caller *c;
    uint64_t resolve; /* RESOLVE_* */
    struct path path; /* where the walk is; referenced */
    struct path root; /* where "/" and ".." stop; referenced */
    const char *next; /* what is left of the name */
    char *expanded;   /* owned buffer that `next` points into after a symlink */
    unsigned int links;

    /* The last component, after walk_parent(). */
    const char *last;
    size_t last_len;
    enum last_type last_type;
    bool trailing; /* slashes follow it */
};

/* Begins at `dir` (NULL: the cwd) or the root. walk_fini() in any case. */
int must_check walk_init(struct walk *w, const struct vfs_caller *c, const struct path *dir, const char *name,
                         uint64_t resolve);
void walk_fini(struct walk *w);
/* Walks all but the last component. Afterwards w->path is a directory that may be searched (unless LAST_ROOT). */
int must_check walk_parent(struct walk *w);
/* Takes the last component, without following it if it is a symlink unless `follow`. 1: a link was expanded, walk_parent()
 * again. */
int must_check walk_last(struct walk *w, bool follow);
/* The rest of walk_last() for a child that has been looked up already. Consumes `child`, which is positive. */
int must_check walk_into(struct walk *w, struct dentry *child, bool follow);

#endif
