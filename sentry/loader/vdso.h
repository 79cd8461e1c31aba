/*
 * The sentry's side of the vDSO: its pages in the memory file, which the loader maps into every program, and the clock
 * parameters in them.
 */
#ifndef SENTRY_LOADER_VDSO_H
#define SENTRY_LOADER_VDSO_H

#include <stddef.h>
#include <stdint.h>

struct kernel;

/* Where the pages are: first the data page (to be mapped read-only), then the image (read and execute), contiguous. */
struct vdso_pages {
    uint64_t memfile_off;
    size_t data_len, text_len; /* page aligned */
};
const struct vdso_pages *vdso_pages(const struct kernel *k);

/*
 * Renews the clock parameters if they are due. Called by clock_gettime(2) and its like, which guests only make when the vDSO
 * found its parameters too old. Cheap when nothing is due. Any thread.
 */
void vdso_refresh(struct kernel *k);

#endif
