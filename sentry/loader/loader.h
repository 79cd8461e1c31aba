/*
 * From a file to a runnable address space: ELF (static, static-PIE, dynamic), `#!` scripts, the initial stack with auxv, and
 * our own vDSO.
 */
#ifndef SENTRY_LOADER_LOADER_H
#define SENTRY_LOADER_LOADER_H

#include "platform/platform.h"
#include "vfs/file.h"

struct mm;
struct kernel;

/* argv and envp as one block of NUL-terminated strings each, already in host memory and bounded (E2BIG is the caller's check).
 */
struct exec_strings {
    const char *data;
    size_t len; /* bytes, with NULs */
    size_t count;
};

struct exec_request {
    struct file *file;    /* opened with FMODE_EXEC; permission checked */
    const char *filename; /* as given: AT_EXECFN and script argument */
    struct exec_strings argv, envp;
    const struct vfs_caller *caller;
    uint64_t stack_limit; /* RLIMIT_STACK */
    bool secure;          /* AT_SECURE, known before loading for non-setuid files */
    bool no_aslr;         /* ADDR_NO_RANDOMIZE */
};

struct exec_result {
    struct mm *mm; /* one reference */
    struct guest_regs regs;
    struct file *exe; /* what /proc/PID/exe shows (the interpreter's file for scripts); referenced */
    char comm[16];    /* TASK_COMM_LEN */
};

/*
 * Loads without touching the caller's current address space: on failure nothing has changed. Errors as execve(2): ENOEXEC,
 * ELIBBAD, EACCES, ENOENT (interpreter), E2BIG, ELOOP (scripts nested over 5 deep), ENOMEM, EIO...
 */
int must_check loader_load(struct kernel *k, const struct exec_request *req, struct exec_result *out);

/*
 * Builds the vDSO image once per kernel; its clock page is refreshed by the sentry. `tsc_clock`: the host keeps its own time by
 * the time-stamp counter.
 */
int must_check vdso_init(struct kernel *k, bool tsc_clock);
void vdso_fini(struct kernel *k);
/* The address of the signal-return trampoline is the guest's business on x86-64 (SA_RESTORER): the vDSO holds only time and
 * getcpu. */

#endif
