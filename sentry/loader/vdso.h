/*
 * The sentry's side of the vDSO: its pages in the memory file, which the loader maps into every program, and the clock
 * parameters in them.
 */
#ifndef SENTRY_LOADER_VDSO_H
#define SENTRY_LOADER_VDSO_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct kernel;

/* Where the pages are: first the data page (to be mapped read-only), then the image (read and execute), contiguous. */
struct vdso_pages {
    uint64_t memfile_off;
    size_t data_len, text_len; /* page aligned */
};
const struct vdso_pages *vdso_pages(const struct kernel *k);

/*
 * Reads a clock for clock_gettime(2) and its like, with the same result as the vDSO would have (the host's clock where the vDSO
 * does not serve one). Guests only make these calls when the vDSO found its parameters too old, so they are renewed here. Any
 * thread.
 */
int64_t vdso_clock_ns(struct kernel *k, clockid_t clock);

/*
 * Some thread is bound to certain CPUs, on which the host does not really keep it: from now on getcpu() asks the sentry. Any
 * thread.
 */
void vdso_getcpu_by_call(struct kernel *k);

#endif
