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
    bool warm; /* it has memory, all zero */
};

#define ARENA_WARM 16 /* pieces of a kind, at most */

static uint64_t piece_size(enum arena_kind kind)
{
    return kind == ARENA_PAGE ? 4096 : kind == ARENA_SLOT ? SLOT_SIZE : ARENA_FAMILY_SIZE;
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
    for (enum arena_kind kind = ARENA_PAGE; kind < ARENA_KINDS; kind++) {
        struct arena_piece **list = &a->free_pieces[kind];

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
    list = &a->free_pieces[kind];
    piece = *list;
    if (piece) {
        *list = piece->next;
        off = (int64_t)piece->off;
        a->nr_warm[kind] -= piece->warm;
        free(piece);
    } else if (a->next + piece_size(kind) <= ARENA_FILE_SIZE) {
        off = (int64_t)a->next;
        a->next += piece_size(kind);
    }
    mutex_unlock(&a->lock);
    return off;
}

/* Whether a piece is worth to be kept with its memory. Making and freeing that memory costs far more than clearing it. */
static bool keep_warm(struct arena *a, enum arena_kind kind) REQUIRES(a->lock)
{
    if (kind == ARENA_FAMILY || a->nr_warm[kind] >= ARENA_WARM)
        return false;
    a->nr_warm[kind]++;
    return true;
}

void arena_free(struct arena *a, enum arena_kind kind, uint64_t off)
{
    struct arena_piece *piece = malloc(sizeof(*piece));
    struct arena_piece **list;
    bool warm;

    mutex_lock(&a->lock);
    warm = piece && keep_warm(a, kind);
    mutex_unlock(&a->lock);
    /* Leaves nothing of one guest for the next. */
    if (warm)
        memset(a->base + off, 0, piece_size(kind));
    else
        fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)piece_size(kind));
    if (!piece)
        return; /* file space is lost, memory is not */
    *piece = (struct arena_piece){.off = off, .warm = warm};
    mutex_lock(&a->lock);
    list = &a->free_pieces[kind];
    piece->next = *list;
    *list = piece;
    mutex_unlock(&a->lock);
}
