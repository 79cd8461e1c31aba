/* Signal frames of stub threads, as the host kernel lays them out. */
#ifndef PLATFORM_PVMEXEC_ARCH_FRAME_H
#define PLATFORM_PVMEXEC_ARCH_FRAME_H

#include "platform/pvmexec/stub.h"

/* Finds the frame that the slot speaks of; -EFAULT unless it lies in the slot's signal stack. */
int must_check frame_find(struct stub_thread *t);
/* Takes the guest's registers and what happened from the frame; segment bases from the context beside it. */
void frame_read(const struct stub_thread *t, struct guest_regs *regs, struct platform_event *ev);
/* Makes the thread's return from the signal load `regs`. */
void frame_write(const struct stub_thread *t, const struct guest_regs *regs);
/* The FP state in the frame; -EFAULT if the frame has none where it could be. */
int must_check frame_fp_get(const struct stub_thread *t, const struct fp_layout *fp, void *buf);
int must_check frame_fp_set(const struct stub_thread *t, const struct fp_layout *fp, const void *buf);

#endif
