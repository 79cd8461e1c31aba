/*
 * Rewritten system-call sites.
 *
 * A `syscall` instruction costs a signal. A site that proves hot is replaced, in the guest's program text, by a jump through
 * the table at STUB_TABLE to a *trampoline* of its own, which does what the replaced bytes did and hands over without a signal.
 *
 * Trampolines and table belong to a *family* of address spaces: one that began with an exec, and all forked from it, because
 * forked text contains the same jumps. A family's memory is mapped read-only in its stubs; only the sentry writes it.
 *
 * The jump is `jmp *disp32`, 7 bytes. Two forms of sites have room for it:
 *
 *   SITE_MOV  b8 imm32, 0f 05           mov $nr, %eax; syscall           (also 48 c7 c0 imm32, 0f 05)
 *   SITE_CMP  0f 05, 48 3d imm32        syscall; cmp $imm32, %rax        (the C library's test for an error)
 *
 * Control may still get to an address inside the replaced bytes: by a jump to the syscall instruction of the first form, by a
 * return from a call that was made before the second was replaced, or by a restarted call. The bytes are chosen so that both
 * addresses hold instructions which fault without doing anything, and site_resolve() then does what the original would
 * have done: in the first form the third byte of the table's address, 06, is an invalid opcode; in the second the jump's SIB
 * byte is written as e5, IN, which user code may not execute.
 */
#ifndef PLATFORM_PVMEXEC_SITES_H
#define PLATFORM_PVMEXEC_SITES_H

#include "platform/pvmexec/stub.h"

enum site_form { SITE_MOV, SITE_CMP };

struct site {
    uint64_t start;  /* first replaced byte */
    uint64_t resume; /* the address behind the syscall instruction */
    enum site_form form;
    uint8_t len;    /* bytes replaced */
    uint16_t index; /* of its trampoline */
    uint32_t imm;   /* SITE_MOV: number of the call; SITE_CMP: what it compares with */
    unsigned char old_bytes[8], new_bytes[8];
};

/* Where in its trampoline a thread is. */
enum site_place {
    SITE_BEFORE, /* not made the call yet */
    SITE_CALLED, /* made it by the trampoline's own syscall instruction */
    SITE_AFTER,  /* SITE_CMP: back from the call, before the comparison */
    SITE_DONE,   /* SITE_CMP: behind the comparison */
};

void stub_family_get(struct stub_family *f);
void stub_family_put(struct stub_family *f);
/* The family of an address space, made if there is none; NULL without memory. */
struct stub_family *stub_family_of(struct stub_as *as);
/* Whether it has any sites. */
bool stub_family_used(const struct stub_family *f);
/* Maps its memory into the stub; -EEXIST if it is mapped. */
int must_check stub_family_map(struct stub_as *as);
/* The two mapping operations for that. */
void stub_family_map_ops(const struct stub_family *f, struct mapper_op ops[2]);

/*
 * A call was made by a syscall instruction that ends at `rip`, by number `nr`. Counts it, and rewrites the site when it is hot.
 */
void site_called(struct stub_context *ctx, struct stub_as *as, uint64_t rip, uint64_t nr);

/*
 * Turns what happened in terms of trampolines and replaced bytes into what happened in terms of the guest's program. Returns
 * false if nothing did, and the thread is to go on with `regs`.
 */
bool site_resolve(struct stub_context *ctx, struct stub_as *as, struct guest_regs *regs, struct platform_event *ev);

/* --- arch --- */

/* The site whose syscall instruction ends at `rip`, if its form is one that can be rewritten. */
bool site_recognise(const struct stub_as *as, uint64_t rip, uint64_t nr, struct site *s);
/* Writes the trampoline of entry s->index, and s->new_bytes. */
void site_generate(struct site *s, unsigned char *trampoline);
enum site_place site_place_of(const struct site *s, unsigned int offset);
/* Offset in the trampoline where SITE_CMP goes on after the call. */
extern const unsigned int site_cmp_continuation;

#endif
