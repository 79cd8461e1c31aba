/*
 * overlay: read-only lower trees under a writable upper one, in the on-disk format of Linux's overlayfs (whiteouts are
 * character devices 0:0, opaque directories carry trusted.overlay.opaque=y), so that Docker's layers mean here what they mean
 * there.
 */
#ifndef VFS_OVERLAY_OVERLAY_H
#define VFS_OVERLAY_OVERLAY_H

#include "vfs/inode.h"

#define OVERLAY_MAX_LOWER 500

/*
 * `lowers[0]` is the topmost. Takes references of its own on all superblocks. upper NULL: a read-only overlay. The root must be
 * a directory in each. One reference in *out.
 */
int must_check overlay_create(struct super_block *const *lowers, unsigned int nr_lowers, struct super_block *upper,
                              struct super_block **out);

#endif
