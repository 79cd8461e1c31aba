/*
 * The kernel's struct rt_sigframe is: a return address, struct ucontext (with struct sigcontext inside), siginfo. The XSAVE
 * state lies above it, where sigcontext's fpstate points. Nothing in it is trusted: the guest can write all of it.
 */
#include "platform/pvmexec/arch/frame.h"

#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <string.h>

#define FRAME_MCONTEXT 48
#define FRAME_SIGMASK  304
#define FRAME_INFO     312
#define FRAME_LEN      440

#define FP_SW_RESERVED 464
#define FP_SW_LEN      48

#define FP_HEADER     512
#define FP_HEADER_LEN 64

#define SEGMENTS 0x002b000000000033ULL /* ss and cs as struct sigcontext has them */

int frame_find(struct stub_thread *t)
{
    uint64_t addr, off;

    memcpy(&addr, t->slot + SLOT_FRAME, sizeof(addr));
    off = addr - t->slot_va;
    if (off < SLOT_STACK || off > SLOT_SIZE - FRAME_LEN || off % 8)
        return -EFAULT;
    t->frame_off = (uint32_t)off;
    return 0;
}

static uint64_t base_or_zero(uint64_t base)
{
    return base < PLATFORM_TASK_SIZE ? base : 0;
}

static void decode_fault(const struct sigcontext *sc, struct platform_event *ev)
{
    ev->kind = PLATFORM_EVENT_FAULT;
    ev->addr = sc->cr2;
    /* Bits of the page-fault error code: 1 write, 4 instruction fetch. */
    ev->access = sc->err & 16 ? PLATFORM_EXEC : sc->err & 2 ? PLATFORM_WRITE : PLATFORM_READ;
}

void frame_read(const struct stub_thread *t, struct guest_regs *regs, struct platform_event *ev)
{
    const unsigned char *frame = t->slot + t->frame_off;
    struct sigcontext sc;
    struct {
        int32_t signo, err, code, pad;
        uint64_t addr;
        int32_t nr;
        uint32_t arch;
    } info;
    uint64_t bases[2];

    memcpy(&sc, frame + FRAME_MCONTEXT, offsetof(struct sigcontext, __reserved1));
    memcpy(&info, frame + FRAME_INFO, sizeof(info));
    memcpy(bases, t->slot + SLOT_REGS + REGS_FS, sizeof(bases));
    *regs = (struct guest_regs){
        .r15 = sc.r15,
        .r14 = sc.r14,
        .r13 = sc.r13,
        .r12 = sc.r12,
        .rbp = sc.rbp,
        .rbx = sc.rbx,
        .r11 = sc.r11,
        .r10 = sc.r10,
        .r9 = sc.r9,
        .r8 = sc.r8,
        .rax = sc.rax,
        .rcx = sc.rcx,
        .rdx = sc.rdx,
        .rsi = sc.rsi,
        .rdi = sc.rdi,
        .rip = sc.rip,
        .rflags = sc.eflags,
        .rsp = sc.rsp,
        .fs_base = base_or_zero(bases[0]),
        .gs_base = bases[1] == t->slot_va ? 0 : base_or_zero(bases[1]),
    };

    *ev = (struct platform_event){.kind = PLATFORM_EVENT_INTERRUPTED};
    switch (info.signo) {
    case SIGSYS:
        if (info.arch == AUDIT_ARCH_X86_64) {
            ev->kind = PLATFORM_EVENT_SYSCALL;
        } else {
            /* int $0x80: what a kernel without 32-bit emulation does, a general protection fault for the IDT entry. */
            regs->rip -= 2;
            ev->kind = PLATFORM_EVENT_EXCEPTION;
            ev->signo = SIGSEGV;
            ev->code = SI_KERNEL;
            ev->trapno = 13;
            ev->error_code = 0x402;
        }
        break;
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
        ev->kind = PLATFORM_EVENT_EXCEPTION;
        ev->signo = info.signo;
        ev->code = info.code;
        ev->addr = info.addr;
        ev->trapno = (uint32_t)sc.trapno;
        ev->error_code = (uint32_t)sc.err;
        if (sc.trapno == 14 && (info.signo == SIGSEGV || info.signo == SIGBUS))
            decode_fault(&sc, ev);
        break;
    }
}

void frame_write(const struct stub_thread *t, const struct guest_regs *r)
{
    unsigned char *frame = t->slot + t->frame_off;
    struct sigcontext sc = {
        .r8 = r->r8,
        .r9 = r->r9,
        .r10 = r->r10,
        .r11 = r->r11,
        .r12 = r->r12,
        .r13 = r->r13,
        .r14 = r->r14,
        .r15 = r->r15,
        .rdi = r->rdi,
        .rsi = r->rsi,
        .rbp = r->rbp,
        .rbx = r->rbx,
        .rdx = r->rdx,
        .rax = r->rax,
        .rcx = r->rcx,
        .rsp = r->rsp,
        .rip = r->rip,
        .eflags = r->rflags,
    };
    const uint64_t segments = SEGMENTS, no_signals = 0;
    const uint64_t bases[2] = {r->fs_base, r->gs_base ? r->gs_base : t->slot_va};

    memcpy(frame + FRAME_MCONTEXT, &sc, offsetof(struct sigcontext, cs));
    memcpy(frame + FRAME_MCONTEXT + offsetof(struct sigcontext, cs), &segments, sizeof(segments));
    memcpy(frame + FRAME_SIGMASK, &no_signals, sizeof(no_signals));
    memcpy(t->slot + SLOT_REGS + REGS_FS, bases, sizeof(bases));
}

static unsigned char *find_fp(const struct stub_thread *t, const struct fp_layout *fp)
{
    uint64_t ptr, off;

    memcpy(&ptr, t->slot + t->frame_off + FRAME_MCONTEXT + offsetof(struct sigcontext, fpstate), sizeof(ptr));
    off = ptr - t->slot_va;
    if (off < SLOT_STACK || off > SLOT_SIZE - fp->size || off % 64)
        return NULL;
    return t->slot + off;
}

int frame_fp_get(const struct stub_thread *t, const struct fp_layout *fp, void *buf)
{
    const unsigned char *state = find_fp(t, fp);

    if (!state)
        return -EFAULT;
    memcpy(buf, state, fp->size);
    fp_scrub(fp, buf);
    return 0;
}

int frame_fp_set(const struct stub_thread *t, const struct fp_layout *fp, const void *buf)
{
    unsigned char *state = find_fp(t, fp);
    unsigned char sw[FP_SW_LEN];

    if (!state)
        return -EFAULT;
    /* The software bytes stay the kernel's own: they tell it that the state is more than FXSAVE's. */
    memcpy(sw, state + FP_SW_RESERVED, sizeof(sw));
    memcpy(state, buf, fp->size);
    memcpy(state + FP_SW_RESERVED, sw, sizeof(sw));
    return 0;
}

bool slot_fp_fits(const struct fp_layout *fp)
{
    /* A frame that a kick makes meanwhile begins so far below the slot's end, and the red zone of its handler with it. */
    return fp->size <= SLOT_SIZE - SLOT_FP - (fp->host_size + 1024 + 256) && fp->host_size + 1280 < SLOT_SIZE - SLOT_FP;
}

/* XSAVE writes only the first word of the header. */
void slot_fp_prepare(const struct stub_thread *t)
{
    memset(t->slot + SLOT_FP + FP_HEADER, 0, FP_HEADER_LEN);
}

void slot_fp_get(const struct stub_thread *t, const struct fp_layout *fp, void *buf)
{
    memcpy(buf, t->slot + SLOT_FP, fp->size);
    fp_scrub(fp, buf);
}

void slot_fp_set(const struct stub_thread *t, const struct fp_layout *fp, const void *buf)
{
    memcpy(t->slot + SLOT_FP, buf, fp->size);
}
