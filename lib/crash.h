/*
 * Last words: where this process was when it crashed, as offsets into its program file (`addr2line -fe runsc-c OFFSET...`),
 * since a confined process leaves no core and no debugger sees its files.
 */
#ifndef LIB_CRASH_H
#define LIB_CRASH_H

#include <signal.h>

/* From a handler of a fatal signal, with what it was given: one line on stderr and in the log. */
void crash_report(int signo, const siginfo_t *info, const void *ucontext);

#endif
