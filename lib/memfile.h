/*
 * The memory file: one memfd that holds all guest memory and all tmpfs data of a sandbox.
 *
 * It is mapped once, whole and shared, into the sentry, so that any page is a pointer away, and piecewise into stubs. Every
 * 4 KiB page has a reference count: a page belongs to whoever holds references (a memory area, a tmpfs inode, both after
 * MAP_SHARED, several areas after fork). The last put gives the page back; freed pages are punched out of the memfd, soon if
 * not at once, so that the host gets its memory back.
 *
 * Offsets and lengths are page aligned. All functions are thread safe; the internal lock is a leaf.
 */
#ifndef LIB_MEMFILE_H
#define LIB_MEMFILE_H

#include "lib/compiler.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MEMFILE_PAGE 4096ULL

struct memfile;

/* `limit` bytes of address space are reserved, none of memory. */
int must_check memfile_create(uint64_t limit, struct memfile **out);
/*
 * The same in an empty file of a tmpfs that is mounted with huge=advise, of which the descriptor is taken over; fd <= 0: as
 * memfile_create().
 */
int must_check memfile_create_in(int fd, uint64_t limit, struct memfile **out);
void memfile_destroy(struct memfile *mf);
int memfile_fd(const struct memfile *mf);
/* How large it can get, in bytes. */
uint64_t memfile_limit(const struct memfile *mf);

enum memfile_flags {
    MEMFILE_ZERO = 0,     /* pages read as zero */
    MEMFILE_OVERWRITE = 1 /* the caller fills every byte at once: contents are undefined, which saves the clearing */
};

/* Allocates `len` contiguous bytes with one reference a page. -ENOMEM when the limit is reached. */
int must_check memfile_alloc(struct memfile *mf, uint64_t len, enum memfile_flags flags, uint64_t *off);
/*
 * Makes the host allocate what it has not of a range that will be used all over soon, in huge pages where it can: an aligned 2
 * MiB takes a tenth of the time then. A failure shows when the memory is touched.
 */
void memfile_back(struct memfile *mf, uint64_t off, uint64_t len);
void memfile_get(struct memfile *mf, uint64_t off, uint64_t len);
void memfile_put(struct memfile *mf, uint64_t off, uint64_t len);
/* Whether the page has just one reference. Stable only while the caller holds that one. */
bool memfile_exclusive(struct memfile *mf, uint64_t off);
/* Where the sentry sees `off`; the whole file is contiguous. Valid while a reference is held. */
void *memfile_ptr(struct memfile *mf, uint64_t off);
/* Gives the few freed pages that are kept for the next allocation back to the host, when the sandbox falls idle. */
void memfile_trim(struct memfile *mf);
/* Bytes now referenced by someone. */
uint64_t memfile_used(struct memfile *mf);

#endif
