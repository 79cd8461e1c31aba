/*
 * The arena: one sparse file behind all memory that stubs share with the sentry. Pieces come in three sizes with a free list
 * each; the sentry has the whole file mapped, so a piece is its file offset.
 */
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct arena_piece {
    struct arena_piece *next;
    uint64_t off;
};

static uint64_t piece_size(enum arena_kind kind)
{
    return kind == ARENA_PAGE ? 4096 : kind == ARENA_SLOT ? SLOT_SIZE : ARENA_FAMILY_SIZE;
}

static struct arena_piece **free_list(struct arena *a, enum arena_kind kind) REQUIRES(a->lock)
{
    return kind == ARENA_PAGE ? &a->free_pages : kind == ARENA_SLOT ? &a->free_slots : &a->free_families;
}

int arena_init(struct arena *a, int fd, uint64_t first)
{
    void *base = mmap(NULL, ARENA_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

    if (base == MAP_FAILED)
        return -errno;
    mutex_init(&a->lock);
    a->fd = fd;
    a->base = base;
    a->next = first;
    return 0;
}

void arena_fini(struct arena *a) NO_THREAD_SAFETY_ANALYSIS
{
    for (enum arena_kind kind = ARENA_PAGE; kind <= ARENA_FAMILY; kind++) {
        struct arena_piece **list = free_list(a, kind);

        while (*list) {
            struct arena_piece *piece = *list;
            *list = piece->next;
            free(piece);
        }
    }
    munmap(a->base, ARENA_FILE_SIZE);
    mutex_fini(&a->lock);
}

int64_t arena_alloc(struct arena *a, enum arena_kind kind)
{
    struct arena_piece **list, *piece;
    int64_t off = -ENOMEM;

    mutex_lock(&a->lock);
    list = free_list(a, kind);
    piece = *list;
    if (piece) {
        *list = piece->next;
        off = (int64_t)piece->off;
        free(piece);
    } else if (a->next + piece_size(kind) <= ARENA_FILE_SIZE) {
        off = (int64_t)a->next;
        a->next += piece_size(kind);
    }
    mutex_unlock(&a->lock);
    return off;
}

void arena_free(struct arena *a, enum arena_kind kind, uint64_t off)
{
    struct arena_piece *piece = malloc(sizeof(*piece));
    struct arena_piece **list;

    /* Gives the memory back, and leaves nothing of one guest for the next. */
    fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)piece_size(kind));
    if (!piece)
        return; /* file space is lost, memory is not */
    piece->off = off;
    mutex_lock(&a->lock);
    list = free_list(a, kind);
    piece->next = *list;
    *list = piece;
    mutex_unlock(&a->lock);
}
