/*
 * Touching memory that may fault: guest memory as the sentry sees it.
 *
 * The memory file's pages never fault, but a window on a host file raises SIGBUS when someone on the host cuts the file. Each
 * routine is a few instructions of assembly that keep the stack as they found it; when one of them faults, the signal handler
 * makes the routine return -1 at once. Nothing is saved beforehand, so a copy that goes well costs nothing more.
 *
 * The routines read every byte for the result at most once.
 */
#ifndef SENTRY_MM_SAFE_ACCESS_H
#define SENTRY_MM_SAFE_ACCESS_H

#include "lib/compiler.h"

#include <stddef.h>
#include <stdint.h>

/* 0, or -1 after a fault (part may have been copied). */
long must_check safe_copy(void *dst, const void *src, size_t n);
long must_check safe_zero(void *dst, size_t n);
/* Aligned words, atomically. */
long must_check safe_load32(const uint32_t *p, uint32_t *val);
long must_check safe_store32(uint32_t *p, uint32_t val);
/* *expected gets what was there. */
long must_check safe_cmpxchg32(uint32_t *p, uint32_t *expected, uint32_t desired);
/* The same for eight bytes at any address within a cache line. */
long must_check safe_cmpxchg64(void *p, uint64_t *expected, uint64_t desired);

/*
 * Takes SIGSEGV and SIGBUS over for the process; faults elsewhere still kill it. Once, before there are threads that copy. No
 * thread may block these two signals.
 */
int must_check safe_access_init(void);

#endif
