/*
 * Recognising sites and generating trampolines. See sites.h for the forms.
 *
 * A trampoline first makes sure that gs is the stub's: the guest may use it for itself, and then there is nothing to find the
 * slot by. The check uses rcx, which a system call destroys anyway, and leaves the flags alone:
 *
 *           mov   %gs:MAGIC, %rcx
 *           lea   -VALUE(%rcx), %rcx
 *           jrcxz 1f
 *           [mov  $nr, %eax]
 *           syscall                     the slow way: a signal
 *           ud2
 *     1:    [mov  $nr, %eax]
 *           mov   $resume, %rcx         what the instruction leaves in rcx
 *           jmp   stub_trampoline_common
 *
 * SITE_CMP continues, at a fixed offset, where the common code comes back to:
 *
 *           cmp   $imm32, %rax
 *           jmp   *behind
 *
 * Calls with a constant number whose answer is in the slot end instead in
 *
 *     1:    mov   %gs:ANSWER, %eax
 *           mov   $resume, %rcx
 *           jmp   *%rcx
 */
#include "platform/pvmexec/arch/image.h"
#include "platform/pvmexec/sites.h"

#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#define CMP_CONTINUATION 40
const unsigned int site_cmp_continuation = CMP_CONTINUATION;

/* Offsets behind the trampoline's own syscall instruction. */
#define SLOW_MOV 25
#define SLOW_CMP 20

struct code {
    unsigned char *p;
    unsigned int n;
};

static void put(struct code *c, const void *bytes, unsigned int n)
{
    memcpy(c->p + c->n, bytes, n);
    c->n += n;
}

#define PUT(c, ...) put(c, (const unsigned char[]){__VA_ARGS__}, sizeof((const unsigned char[]){__VA_ARGS__}))

static void put_u32(struct code *c, uint32_t v)
{
    put(c, &v, sizeof(v));
}

static void put_u64(struct code *c, uint64_t v)
{
    put(c, &v, sizeof(v));
}

/* Offset in the slot's answers of what `nr` returns, or -1. */
static int answer_offset(uint32_t nr)
{
    switch (nr) {
    case SYS_getpid:
        return offsetof(struct platform_answers, pid);
    case SYS_gettid:
        return offsetof(struct platform_answers, tid);
    case SYS_getuid:
        return offsetof(struct platform_answers, uid);
    case SYS_geteuid:
        return offsetof(struct platform_answers, euid);
    case SYS_getgid:
        return offsetof(struct platform_answers, gid);
    case SYS_getegid:
        return offsetof(struct platform_answers, egid);
    default:
        return -1;
    }
}

/* The check of gs and the slow way, up to label 1. */
static void put_check(struct code *c, const struct site *s, uint32_t magic)
{
    PUT(c, 0x65, 0x48, 0x8b, 0x0c, 0x25);
    put_u32(c, magic);
    PUT(c, 0x48, 0x8d, 0x89);
    put_u32(c, -(uint32_t)SLOT_MAGIC_VALUE);
    PUT(c, 0xe3, s->form == SITE_MOV ? 9 : 4);
    if (s->form == SITE_MOV) {
        PUT(c, 0xb8);
        put_u32(c, s->imm);
    }
    PUT(c, 0x0f, 0x05, 0x0f, 0x0b);
}

static void put_mov_rcx(struct code *c, uint64_t v)
{
    PUT(c, 0x48, 0xb9);
    put_u64(c, v);
}

static void put_jump_common(struct code *c, uint64_t here)
{
    PUT(c, 0xe9);
    put_u32(c, (uint32_t)(stub_code_addr(stub_trampoline_common) - (here + c->n + 4)));
}

static void generate_mov(struct code *c, const struct site *s, uint64_t here)
{
    int answer = answer_offset(s->imm);

    put_check(c, s, answer < 0 ? SLOT_MAGIC : SLOT_ANSWERS_MAGIC);
    if (answer < 0) {
        PUT(c, 0xb8);
        put_u32(c, s->imm);
        put_mov_rcx(c, s->resume);
        put_jump_common(c, here);
    } else {
        PUT(c, 0x65, 0x8b, 0x04, 0x25);
        put_u32(c, SLOT_ANSWERS + (uint32_t)answer);
        put_mov_rcx(c, s->resume);
        PUT(c, 0xff, 0xe1);
    }
}

static void generate_cmp(struct code *c, const struct site *s, uint64_t here)
{
    put_check(c, s, SLOT_MAGIC);
    put_mov_rcx(c, here + CMP_CONTINUATION);
    put_jump_common(c, here);
    while (c->n < CMP_CONTINUATION)
        PUT(c, 0xcc);
    PUT(c, 0x48, 0x3d);
    put_u32(c, s->imm);
    PUT(c, 0xff, 0x25, 0, 0, 0, 0);
    put_u64(c, s->resume + 6);
}

void site_generate(struct site *s, unsigned char *trampoline)
{
    struct code tramp = {.p = trampoline}, jump = {.p = s->new_bytes};
    uint64_t here = STUB_TRAMPOLINES + s->index * TRAMPOLINE_SIZE;

    if (s->form == SITE_MOV)
        generate_mov(&tramp, s, here);
    else
        generate_cmp(&tramp, s, here);
    PUT(&jump, 0xff, 0x24, s->form == SITE_MOV ? 0x25 : 0xe5);
    put_u32(&jump, (uint32_t)(STUB_TABLE + s->index * 8U));
    if (s->form == SITE_CMP)
        PUT(&jump, 0x06);
}

enum site_place site_place_of(const struct site *s, unsigned int offset)
{
    if (offset == (s->form == SITE_MOV ? SLOW_MOV : SLOW_CMP))
        return SITE_CALLED;
    if (s->form == SITE_CMP && offset == CMP_CONTINUATION)
        return SITE_AFTER;
    if (s->form == SITE_CMP && offset > CMP_CONTINUATION)
        return SITE_DONE;
    return SITE_BEFORE;
}

static bool recognise_mov(const struct stub_as *as, uint64_t rip, uint64_t nr, struct site *s)
{
    unsigned char b[9] = {0};
    size_t len = 9;
    uint32_t imm;
    uint64_t start;

    /* What comes before may not be there to be read. */
    while (as->text->read(as->owner, rip - len, b + 9 - len, len))
        if (--len < 7)
            return false;
    memcpy(&imm, b + 3, sizeof(imm));
    if (imm != nr)
        return false;
    if (b[0] == 0x48 && b[1] == 0xc7 && b[2] == 0xc0) {
        start = rip - 9;
    } else if (b[2] == 0xb8 && (b[1] & 0xf0) != 0x40 && b[1] != 0x66) {
        /* Behind a REX prefix it would load r8; the operand-size prefix would make it shorter. */
        start = rip - 7;
    } else {
        return false;
    }
    s->form = SITE_MOV;
    s->imm = imm;
    s->start = start;
    s->len = 7;
    memcpy(s->old_bytes, b + (start - (rip - 9)), 7);
    return true;
}

static bool recognise_cmp(const struct stub_as *as, uint64_t rip, struct site *s)
{
    unsigned char b[8];

    if (as->text->read(as->owner, rip - 2, b, 8) || b[2] != 0x48 || b[3] != 0x3d)
        return false;
    s->form = SITE_CMP;
    memcpy(&s->imm, b + 4, sizeof(s->imm));
    s->start = rip - 2;
    s->len = 8;
    memcpy(s->old_bytes, b, 8);
    return true;
}

bool site_recognise(const struct stub_as *as, uint64_t rip, uint64_t nr, struct site *s)
{
    unsigned char insn[2];

    if (as->text->read(as->owner, rip - 2, insn, 2) || insn[0] != 0x0f || insn[1] != 0x05)
        return false;
    s->resume = rip;
    return recognise_mov(as, rip, nr, s) || recognise_cmp(as, rip, s);
}
