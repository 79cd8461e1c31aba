/* What a process knows of the file system: its root, working directory and umask. Shared by CLONE_FS. */
#ifndef VFS_FS_STRUCT_H
#define VFS_FS_STRUCT_H

#include "lib/refcount.h"
#include "vfs/file.h"

struct mnt_namespace;

struct fs_struct {
    struct refcount ref;
    struct mutex lock;
    struct path root GUARDED_BY(lock);
    struct path cwd GUARDED_BY(lock);
    mode_t umask GUARDED_BY(lock);
    struct mnt_namespace *ns GUARDED_BY(lock); /* referenced */
};

struct fs_struct *
fs_struct_create(struct mnt_namespace *ns); /* root and cwd at the namespace's root; NULL when out of memory */
struct fs_struct *fs_struct_dup(struct fs_struct *fs);
struct fs_struct *fs_struct_get(struct fs_struct *fs);
void fs_struct_put(struct fs_struct *fs);
void fs_get_root(struct fs_struct *fs, struct path *out); /* referenced */
void fs_get_cwd(struct fs_struct *fs, struct path *out);
void fs_set_root(struct fs_struct *fs, const struct path *p);
void fs_set_cwd(struct fs_struct *fs, const struct path *p);
void fs_set_ns(struct fs_struct *fs, struct mnt_namespace *ns); /* takes its own reference */
/* pivot_root: moves root and cwd from the old root to the new one where they are exactly that. For every process of the
 * namespace. */
void fs_switch_root(struct fs_struct *fs, const struct path *old_root, const struct path *new_root);
mode_t fs_umask(struct fs_struct *fs);
mode_t fs_set_umask(struct fs_struct *fs, mode_t mask); /* the old one */

#endif
