/*
 * A guest virtual address. A type of its own, so that it can neither be dereferenced nor mixed with host pointers or sizes;
 * only the copy helpers (vfs/uaccess.h, sentry/mm/usercopy.h) turn it into memory.
 */
#ifndef LIB_GUEST_ADDR_H
#define LIB_GUEST_ADDR_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t a;
} guest_addr;

#define GUEST_NULL      ((guest_addr){0})
#define GUEST_PAGE_SIZE 4096ULL
/* The end of what guests can address, as on Linux with four-level page tables. */
#define GUEST_TASK_SIZE 0x7ffffffff000ULL
#define GUEST_PAGE_MASK (~(GUEST_PAGE_SIZE - 1))

static inline guest_addr guest_addr_of(uint64_t a)
{
    return (guest_addr){a};
}

static inline guest_addr guest_add(guest_addr g, uint64_t n)
{
    return (guest_addr){g.a + n};
}

static inline bool guest_is_null(guest_addr g)
{
    return g.a == 0;
}

#endif
