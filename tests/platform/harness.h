/*
 * A few lines of driver around a platform: memory for guests, and programs to run in it.
 *
 * Programs are written in guest.S. Each is copied to GUEST_CODE of an address space that has a stack page and a data page
 * besides, and started with all registers zero but rip and rsp.
 */
#ifndef TESTS_PLATFORM_HARNESS_H
#define TESTS_PLATFORM_HARNESS_H

#include "platform/platform.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUEST_CODE  0x400000ULL
#define GUEST_DATA  0x500000ULL
#define GUEST_STACK 0x600000ULL /* one page; rsp starts at its end */

#define MEM_SIZE (64UL << 20)

extern const char *test_platform_name;
extern struct platform *test_platform;
extern int mem_fd;
extern unsigned char *mem; /* the whole file, shared */

#define check(cond)                                                            \
    do {                                                                       \
        if (!(cond)) {                                                         \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond); \
            abort();                                                           \
        }                                                                      \
    } while (0)
#define check_eq(a, b)                                                                                                \
    do {                                                                                                              \
        long long a_ = (long long)(a), b_ = (long long)(b);                                                           \
        if (a_ != b_) {                                                                                               \
            fprintf(stderr, "%s:%d: %s is %lld (%#llx), not %lld (%#llx)\n", __FILE__, __LINE__, #a, a_, a_, b_, b_); \
            abort();                                                                                                  \
        }                                                                                                             \
    } while (0)

void test_setup_memory(void);
/* Offset of fresh zero pages of the memory file; never freed. */
uint64_t mem_alloc(uint64_t len);
void map(struct platform_as *as, uint64_t addr, uint64_t len, int prot, uint64_t off);
void unmap(struct platform_as *as, uint64_t addr, uint64_t len);

/* A guest program in an address space of its own. */
struct guest {
    struct platform_as *as;
    struct platform_context *ctx;
    struct guest_regs regs;
    struct platform_event ev;
    uint64_t code_off, data_off, stack_off;
};

struct program {
    const char *start, *end;
};
#define PROGRAM(name)                               \
    extern const char name##_start[], name##_end[]; \
    static const struct program name = {name##_start, name##_end}

void guest_init_as(struct guest *g, const struct program *prog, struct platform_as *fork_of);
void guest_init_context(struct guest *g);
void guest_init(struct guest *g, const struct program *prog);
void guest_fini(struct guest *g);
/* Runs until the next event. */
void guest_run(struct guest *g);
/* Runs to a SYSCALL event with number `nr`. */
void guest_run_to_call(struct guest *g, uint64_t nr);
static inline unsigned char *guest_data(struct guest *g)
{
    return mem + g->data_off;
}
static inline unsigned char *guest_code(struct guest *g)
{
    return mem + g->code_off;
}

struct test {
    const char *name;
    void (*fn)(void);
};
extern const struct test basic_tests[], hostile_tests[], hijack_tests[];

#endif
