/*
 * Files that address spaces map. Private to sentry/mm.
 *
 * A `vma_file` is what the vmas made by one mmap(2) call share: the open file, and the registration with its inode that brings
 * word of truncation. A `file_map` is what all mappings of one inode in the sandbox share: the sentry's own windows on the
 * host's page cache, through which it reads and writes guest memory that is backed by host files.
 */
#ifndef SENTRY_MM_FILE_MAP_H
#define SENTRY_MM_FILE_MAP_H

#include "lib/compiler.h"
#include "vfs/file.h"
#include "vfs/inode.h"

#include <stdbool.h>
#include <stdint.h>

struct file_map;
struct file_map_table;
struct mm;

struct vma_file {
    struct file *file;          /* counted */
    struct file_map *map;       /* counted */
    struct mm *mm;              /* whose it is; not counted: it outlives us */
    unsigned int nr_vmas;       /* guarded by mm->lock */
    struct vma_file *fork_copy; /* the child's, while mm_fork() runs */
    struct vma_file *next_dead; /* in mm->dead_files */
    struct inode_mapping mapping;
};

int must_check file_map_table_create(struct file_map_table **out);
void file_map_table_destroy(struct file_map_table *t);

/* With one vma counted. `writable`: a shared mapping that may be written. Takes its own reference on `f`. */
int must_check vma_file_create(struct mm *mm, struct file *f, bool writable, struct vma_file **out);
/* Calls no longer come, files are closed. Without mm->lock. */
void vma_file_destroy(struct vma_file *vf);

/* A part of a file as the sentry sees it. Touching it may raise SIGBUS: only safe_access.h's routines may. */
struct file_window {
    uint8_t *ptr;
    uint64_t len;   /* bytes at ptr */
    bool temporary; /* made for this use: file_window_put() removes it */
};
/*
 * A window on a host file from `off` (page aligned), over at least one page and, when it must be made, up to `len` bytes. It is
 * valid until file_window_put(), and the caller holds mm->lock meanwhile. -ENXIO beyond the end of the file; -EAGAIN when the
 * page is not a host file's.
 */
int must_check file_window_get(struct vma_file *vf, uint64_t off, uint64_t len, bool writable, struct file_window *out);
void file_window_put(struct file_window *w);

#endif
