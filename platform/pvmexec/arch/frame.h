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

/*
 * The same through SLOT_FP, if it fits, for a thread that waits in the trampoline code: it is prepared before COMMAND_SAVE and
 * read after it, or written before COMMAND_RUN_LOAD.
 */
bool slot_fp_fits(const struct fp_layout *fp);
void slot_fp_prepare(const struct stub_thread *t);
void slot_fp_get(const struct stub_thread *t, const struct fp_layout *fp, void *buf);
void slot_fp_set(const struct stub_thread *t, const struct fp_layout *fp, const void *buf);

#endif
