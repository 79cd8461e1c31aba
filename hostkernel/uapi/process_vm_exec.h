/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * process_vm_exec(2), pvm_create(2), pvm_change(2): address spaces without tasks,
 * and running the calling thread in another address space.
 */
#ifndef _UAPI_LINUX_PROCESS_VM_EXEC_H
#define _UAPI_LINUX_PROCESS_VM_EXEC_H

#include <linux/types.h>

#ifndef __NR_pvm_create
#define __NR_pvm_create 500
#define __NR_pvm_change 501
#define __NR_process_vm_exec 502
#endif

/* What happened to end a run: pvm_context.reason. */
#define PVM_EXIT_SYSCALL	1	/* a system call instruction; abi says which */
#define PVM_EXIT_FAULT		2	/* a page fault: signo, code, addr, error_code */
#define PVM_EXIT_EXCEPTION	3	/* another exception: the same, and trapno */
#define PVM_EXIT_INTERRUPTED	4	/* a signal, the interrupt word, other work of the caller */

/* pvm_context.abi: the instruction that made PVM_EXIT_SYSCALL. */
#define PVM_ABI_SYSCALL		0	/* SYSCALL in 64-bit mode */
#define PVM_ABI_INT80		1	/* INT 0x80 */
#define PVM_ABI_COMPAT		2	/* SYSENTER, or SYSCALL in 32-bit mode: ip is lost, and 0 */

/*
 * A thread of the target. All registers are read when a run begins and written
 * when it ends, whatever ended it.
 */
struct pvm_context {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	__u64 ax, cx, dx, si, di;
	__u64 ip, flags, sp;
	__u64 fs_base, gs_base;
	__u16 cs, ss;		/* selectors; 0 means those of 64-bit user code */
	__u32 pkru;
	__u64 xsave;		/* address of the XSAVE area, for PVM_RUN_FPU_*: aligned to 64 */
	__u32 xsave_size;
	__u32 interrupt;	/* not zero: do not begin to run; never written */

	/* Written when the run ends. */
	__u32 reason;		/* PVM_EXIT_* */
	__u32 abi;		/* PVM_EXIT_SYSCALL: PVM_ABI_* */
	__s32 signo, code;	/* PVM_EXIT_FAULT, _EXCEPTION: si_signo, si_code and si_addr */
	__u64 addr;
	__u32 trapno;		/* the CPU's exception number and error code */
	__u32 error_code;
	__u32 pkey;		/* PVM_EXIT_FAULT with SEGV_PKUERR: as si_pkey */
	__u32 __reserved;	/* zero */
};

#define PVM_CONTEXT_SIZE_VER0	224	/* sizeof the first published struct pvm_context */

/* process_vm_exec() flags. */
#define PVM_RUN_FPU_LOAD	0x1	/* load the extended state from the XSAVE area before */
#define PVM_RUN_FPU_SAVE	0x2	/* store it there after, and initialize the caller's */

/* One change of an address space. */
#define PVM_MAP			1
#define PVM_UNMAP		2
#define PVM_PROTECT		3

struct pvm_op {
	__u32 op;		/* PVM_MAP, PVM_UNMAP, PVM_PROTECT */
	__u32 flags;		/* PVM_MAP_*; zero for the others */
	__u64 addr, len;	/* multiples of the page size */
	__u64 offset;		/* PVM_MAP of a file: a multiple of the page size */
	__s32 fd;		/* PVM_MAP of a file: a regular file */
	__u32 prot;		/* PROT_READ, _WRITE, _EXEC */
};

#define PVM_MAP_SHARED		0x1	/* of a file: as MAP_SHARED; otherwise as MAP_PRIVATE */
#define PVM_MAP_ANONYMOUS	0x2	/* no file; fd and offset are not looked at */
#define PVM_MAP_POPULATE	0x4	/* prefault, as MAP_POPULATE */
#define PVM_MAP_NOREPLACE	0x8	/* fail rather than replace what is mapped there */
#define PVM_MAP_NORESERVE	0x10	/* as MAP_NORESERVE */

#endif /* _UAPI_LINUX_PROCESS_VM_EXEC_H */
