/*
 * A pristine process: a fork of the sentry that has thrown away all of the sentry's memory. Its address space is empty but for
 * a code image of the backend at PLATFORM_STUB_BASE, so forking it again is as cheap as a fork can be. It shares the table of
 * file descriptors with the sentry, sees no signals of the sentry's terminal, and dies with the thread that made it.
 */
#ifndef PLATFORM_ARCH_PRISTINE_H
#define PLATFORM_ARCH_PRISTINE_H

#include "lib/compiler.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct pristine_image {
    int fd;          /* the file that holds the image at offset 0 */
    const void *map; /* the sentry's own executable mapping of it */
    size_t len;      /* page aligned */
    size_t entry;    /* offset of PRISTINE_ENTRY */
};

/* Makes a file with `len` bytes of code at its start and maps it. The file's size is `file_size`. */
int must_check pristine_image_create(const void *code, size_t len, size_t entry, size_t file_size, struct pristine_image *img);
void pristine_image_destroy(struct pristine_image *img);
/* Starts a pristine process with `args` in r12-r15. Returns its pid; it reports no SIGCHLD and is waited for with __WALL. */
pid_t must_check pristine_spawn(const struct pristine_image *img, const uint64_t args[4]);

#endif
