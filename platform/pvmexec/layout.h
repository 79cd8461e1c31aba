/*
 * Where everything is in a stub process, for C and assembly alike.
 *
 * From PLATFORM_STUB_BASE up:
 *
 *   code        R-X  the same file pages in every stub
 *   globals     R--  one page for the whole platform: the seccomp program, and whether CPUs are short
 *   commands    R--  one page a stub: what its mapper is to do, and how it went
 *   birth       RW-  between the zygote and the sentry; a new stub unmaps it
 *   trampolines R-X  one for each rewritten site, with the table of pointers in the hole at STUB_TABLE
 *   slots            one for each stub thread:
 *
 *     +0x0000   R--  what the sentry tells the thread
 *     +0x1000   RW-  the shared context, then the signal stack
 *
 * A slot is aligned to its size, so that a signal handler finds it by masking its stack pointer.
 */
#ifndef PLATFORM_PVMEXEC_LAYOUT_H
#define PLATFORM_PVMEXEC_LAYOUT_H

#ifdef __ASSEMBLER__
#define STUB_ADDR(x) (x)
#else
#define STUB_ADDR(x) (x##ULL)
#endif

#define STUB_CODE        STUB_ADDR(0x7fff80000000)
#define STUB_GLOBALS     STUB_ADDR(0x7fff80020000)
#define STUB_COMMANDS    STUB_ADDR(0x7fff80030000)
#define STUB_BIRTH       STUB_ADDR(0x7fff80040000)
#define STUB_TRAMPOLINES STUB_ADDR(0x7fff80100000)
#define STUB_SLOTS       STUB_ADDR(0x7fff90000000)
#define STUB_SLOTS_END   STUB_ADDR(0x7ffff0000000)
#define STUB_TABLE       STUB_ADDR(0x60000)
#define STUB_TABLE_END   STUB_ADDR(0x70000)

/* Stub threads may unmap what begins below here and is shorter than what is from here to STUB_CODE, so that they cannot harm
 * the stub's own mappings. The filter compares upper halves. */
#define STUB_UNMAP_END STUB_ADDR(0x7fff00000000)

#define SLOT_SIZE  0x4000
#define SLOT_SHIFT 14
#define SLOT_RO    0x1000 /* bytes of a slot that the stub may only read */
#define SLOT_STACK 0x1400 /* the signal stack is from here to the slot's end */
#define SLOT_FP    0x1400 /* its lowest part, which no frame reaches, serves to load and save FP states without a signal */

/* Globals page. */
#define GLOBAL_CROWDED 0x000 /* u32: spinning threads shall stop */
#define GLOBAL_FPROG   0x040 /* struct sock_fprog */
#define GLOBAL_FILTER  0x100

/* Slot, read-only part. Offsets are from gs when the thread's gs base is the stub's. */
#define SLOT_MAGIC         0x00 /* u64 */
#define SLOT_ANSWERS_MAGIC 0x08 /* u64: the same when the answers are valid */
#define SLOT_SELF          0x10 /* u64: address of the slot in the stub */
#define SLOT_COMMAND       0x18 /* u32: what to do when the turn comes back */
#define SLOT_SPIN          0x1c /* u32: how often to look before sleeping */
#define SLOT_YIELDS        0x20 /* u32: how often to yield the CPU before sleeping */
#define SLOT_UNMAP_ADDR    0x28 /* u64, below */
#define SLOT_UNMAP_LEN     0x30 /* u64: bytes to unmap at SLOT_UNMAP_ADDR when the turn comes back; mostly 0 */
#define SLOT_FP_FEATURES   0x38 /* u64: what of the FP state is loaded and saved */
#define SLOT_ANSWERS       0x40 /* struct platform_answers */
#define SLOT_SIGSTACK      0x60 /* stack_t for sigaltstack(2) */
#define SLOT_NO_SIGNALS    0x80 /* an empty signal set */

#define SLOT_MAGIC_VALUE 0x5b7c19a3

/* Commands. */
#define COMMAND_RUN       0 /* go on with the registers of the context */
#define COMMAND_RUN_SETFS 1 /* and load the FS base */
#define COMMAND_TO_FRAME  2 /* move the whole state into a signal frame */
#define COMMAND_EXIT      3
#define COMMAND_RUN_LOAD  4 /* COMMAND_RUN_SETFS, and load the FP state at SLOT_FP */
#define COMMAND_SAVE      5 /* save the FP state to SLOT_FP */

/* Slot, shared context. */
#define SLOT_TURN  0x1000 /* u32, below; alone on its cache line but for what is read together with it */
#define SLOT_HOW   0x1004 /* u32 */
#define SLOT_FRAME 0x1008 /* u64: the signal frame's address, for HOW_FRAME and HOW_ABORTED */
#define SLOT_TID   0x1010 /* u32: cleared by the host kernel when the thread is gone */
#define SLOT_REGS  0x1040 /* struct guest_regs */

#define TURN_GUEST        0
#define TURN_GUEST_SLEEP  1 /* and the sentry thread sleeps on this word */
#define TURN_SENTRY       2
#define TURN_SENTRY_SLEEP 3 /* and the stub thread sleeps on this word */

#define HOW_TRAMPOLINE 0 /* a system call by a trampoline; registers are in the context, FP state is live */
#define HOW_FRAME      1 /* a signal; all state is in the frame */
#define HOW_ABORTED    2 /* a kick came before the thread got back to guest code; only the frame's FP state means anything */

/* struct guest_regs, by offset. */
#define REGS_R15    0x00
#define REGS_R14    0x08
#define REGS_R13    0x10
#define REGS_R12    0x18
#define REGS_RBP    0x20
#define REGS_RBX    0x28
#define REGS_R11    0x30
#define REGS_R10    0x38
#define REGS_R9     0x40
#define REGS_R8     0x48
#define REGS_RAX    0x50
#define REGS_RCX    0x58
#define REGS_RDX    0x60
#define REGS_RSI    0x68
#define REGS_RDI    0x70
#define REGS_RIP    0x78
#define REGS_RFLAGS 0x80
#define REGS_RSP    0x88
#define REGS_FS     0x90
#define REGS_GS     0x98

/*
 * Commands page. The sentry alone has it mapped writable; the mapper writes RESULT and REPORT to the file. Then OPS_MAX
 * operations of OP_SIZE bytes: the number of a system call and its six arguments.
 */
#define COMMANDS_SEQUENCE 0x00 /* u32: changes when there is work; the mapper sleeps on it */
#define COMMANDS_COUNT    0x04 /* u32: operations */
#define COMMANDS_ASLEEP   0x08 /* u32: the sentry sleeps on COMMANDS_REPORT */
#define COMMANDS_FILE     0x0c /* s32: descriptor of the file that the page is of */
#define COMMANDS_OFFSET   0x10 /* u64: and its offset there */
#define COMMANDS_RESULT   0x18 /* s32: of an operation that failed, or a clone */
#define COMMANDS_REPORT   0x20 /* u32: one more than the number of operations that succeeded; 0: not done yet */
#define COMMANDS_OPS      0x40
#define OP_SIZE           64
#define OPS_MAX           63

/* Birth page: BIRTH_SLOTS entries of BIRTH_SIZE bytes from BIRTH_FIRST on. */
#define BIRTH_BELL      0x00 /* u32: the zygote sleeps on it */
#define BIRTH_FIRST     0x40
#define BIRTH_SIZE      0x40
#define BIRTH_SLOTS     4
#define BIRTH_STATE     0x00 /* u32 */
#define BIRTH_PID       0x04 /* s32: of the new stub, or an error */
#define BIRTH_COMMANDS  0x08 /* u64: file offset of its commands page */
#define BIRTH_EMPTY     0
#define BIRTH_REQUESTED 1
#define BIRTH_READY     2

/* One trampoline (arch/.../trampoline.c). */
#define TRAMPOLINE_SIZE 64
#define TRAMPOLINES_MAX 8192

#endif
