/*
 * Guest address spaces.
 *
 * A `struct mm` is what CLONE_VM shares: a tree of vmas (what the guest mapped), page tables (what stands behind each page that
 * is present: a page of the memory file, or the host's page cache; and what the platform has of it), and the platform's address
 * space that mirrors them. Pages appear on faults, by mm_fault().
 *
 * Locks: mm->lock (rwlock) guards vmas and page tables. Readers copy guest memory, writers change mappings and serve faults. It
 * comes after any VFS inode lock is *released* and before inode->lock taken inside map_extent; see docs/architecture.md for the
 * whole order. No function here may be called with a lock of the VFS held except from uio callbacks, which run under the reader
 * lock.
 */
#ifndef SENTRY_MM_MM_H
#define SENTRY_MM_MM_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"
#include "platform/platform.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct file;
struct kernel;
struct memfile;
struct mm;
struct vfs_caller;

/* What mm asks for about limits; the syscall layer fills it from the caller's rlimits and credentials. In bytes; UINT64_MAX:
 * none. */
struct mm_limits {
    uint64_t as, data, stack, memlock;
    bool may_lock_over; /* CAP_IPC_LOCK */
};

/*
 * What all address spaces of a sandbox share: where their memory comes from, and the sentry's windows on host files that they
 * map. Also makes the process survive faults on guest memory (SIGSEGV and SIGBUS, which no thread may block). One a kernel.
 */
struct mm_shared;
int must_check mm_shared_create(struct platform *p, struct memfile *mf, uint64_t total_ram, struct mm_shared **out);
/* The size above which no mapping may be: what /proc/meminfo says. */
void mm_shared_set_ram(struct mm_shared *s, uint64_t total_ram);
/* All address spaces must be gone. */
void mm_shared_destroy(struct mm_shared *s);

/* Creates an empty address space for the loader, which ends its work with mm_finish_load(). One reference. */
int must_check mm_create(struct mm_shared *s, struct mm **out);
/* The copy that fork makes. `locked` state and MADV_DONTFORK, MADV_WIPEONFORK are honoured. */
int must_check mm_fork(struct mm *mm, struct mm **out);
struct mm *mm_get(struct mm *mm);
void mm_put(struct mm *mm);
struct platform_as *mm_platform_as(struct mm *mm);

/* System calls; guest-visible results and errors as in Linux. */
int64_t mm_mmap(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int prot, int flags, struct file *f,
                uint64_t off);
int64_t mm_munmap(struct mm *mm, uint64_t addr, uint64_t len);
int64_t mm_mprotect(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int prot);
int64_t mm_mremap(struct mm *mm, const struct mm_limits *lim, uint64_t old, uint64_t old_len, uint64_t new_len, int flags,
                  uint64_t new_addr);
int64_t mm_brk(struct mm *mm, const struct mm_limits *lim, uint64_t brk);
int64_t mm_madvise(struct mm *mm, uint64_t addr, uint64_t len, int advice);
int64_t mm_msync(struct mm *mm, uint64_t addr, uint64_t len, int flags);
int64_t mm_mincore(struct mm *mm, uint64_t addr, uint64_t len, guest_addr vec);
int64_t mm_mlock(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int flags);
int64_t mm_munlock(struct mm *mm, uint64_t addr, uint64_t len);
int64_t mm_mlockall(struct mm *mm, const struct mm_limits *lim, int flags);
int64_t mm_munlockall(struct mm *mm);
int64_t mm_mseal(struct mm *mm, uint64_t addr, uint64_t len, uint64_t flags);
int64_t mm_remap_file_pages(struct mm *mm, const struct mm_limits *lim, uint64_t addr, uint64_t len, int prot, uint64_t pgoff,
                            int flags);
/* For the calls about memory nodes, of which there is one: 0 if the page is present, -ENOENT if not, -EFAULT if not mapped. */
int mm_page_state(struct mm *mm, uint64_t addr);
/* Whether all of [addr, addr+len) is mapped. */
bool mm_range_mapped(struct mm *mm, uint64_t addr, uint64_t len);

enum mm_fault_result {
    MM_FAULT_OK,   /* go on running */
    MM_FAULT_SEGV, /* send SIGSEGV with `code` */
    MM_FAULT_BUS,  /* send SIGBUS BUS_ADRERR */
    MM_FAULT_OOM,  /* out of memory: kill */
};
/* Serves a page fault; `access` is one platform_access. `*code` gets SEGV_MAPERR or SEGV_ACCERR. */
enum mm_fault_result mm_fault(struct mm *mm, uint64_t addr, unsigned int access, const struct mm_limits *lim, int *code);

/* What the loader sets and /proc shows. */
struct mm_layout {
    uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
    uint64_t arg_start, arg_end, env_start, env_end;
    uint64_t vdso;
    uint64_t auxv[2 * 32];
    size_t nr_auxv; /* words used */
};
void mm_get_layout(struct mm *mm, struct mm_layout *out);
void mm_set_layout(struct mm *mm, const struct mm_layout *in);
/* The executable: for /proc/PID/exe and ETXTBSY, with which it fails. Takes a reference; mm_exe_file returns one (or NULL). */
int must_check mm_set_exe_file(struct mm *mm, struct file *f);
struct file *mm_exe_file(struct mm *mm);

/*
 * For the loader, on a fresh address space: where things go. Random when `randomize`. `pie_base` is for position-independent
 * programs that have an interpreter; everything else without an address goes where mm_mmap puts it.
 */
struct mm_exec_layout {
    uint64_t stack_top, pie_base, brk_gap; /* brk_gap: bytes between the program's end and its heap */
};
void mm_plan_exec(struct mm *mm, uint64_t stack_limit, bool randomize, struct mm_exec_layout *out);
/* Maps the initial stack, `len` bytes below `top`, growing down as far as RLIMIT_STACK allows. */
int must_check mm_map_stack(struct mm *mm, const struct mm_limits *lim, uint64_t top, uint64_t len, bool executable);
/*
 * Maps pages of the memory file that belong to the sentry (the vDSO), shared and not writable by the guest, at a free place:
 * the address or -errno. `name` is what /proc/PID/maps shows; it is not copied. Takes references on the pages.
 */
int64_t mm_map_special(struct mm *mm, uint64_t addr, uint64_t len, int prot, uint64_t memfile_off, const char *name);
/* A free range of `len` bytes where mm_mmap would put it; 0 if there is none. Nothing is mapped. */
uint64_t mm_find_free(struct mm *mm, uint64_t len);
/*
 * Loading is done: the platform is told of all pages that it brought in, at once, and of those that the first instruction (at
 * `ip`) and the stack pointer will need.
 */
int must_check mm_finish_load(struct mm *mm, uint64_t ip, uint64_t sp);

/* Sizes in bytes, for /proc/PID/{status,statm}, getrusage. */
struct mm_stats {
    uint64_t vm_size, vm_peak, rss_anon, rss_file, rss_shmem, rss_peak, locked, data, stack, text;
    uint64_t minor_faults, major_faults;
};
void mm_get_stats(struct mm *mm, struct mm_stats *out);

/* One line of /proc/PID/maps at a time, by address, so that the reader needs no long lock. False at the end. */
struct mm_vma_info {
    uint64_t start, end, offset;
    int prot;
    bool shared, growsdown, locked;
    char name[64];                     /* "[heap]", "[stack]", "[vdso]", or "" */
    struct file *file;                 /* referenced for the caller, or NULL */
    uint64_t rss, private_dirty, swap; /* for smaps */
};
bool mm_next_vma(struct mm *mm, uint64_t from, struct mm_vma_info *out);

/* What is present of `n` pages from `addr` on (page aligned): for /proc/PID/pagemap. */
enum { MM_PAGE_PRESENT = 1, MM_PAGE_FILE = 2 /* of a file or shared memory */ };
void mm_pagemap(struct mm *mm, uint64_t addr, size_t n, uint8_t *out);

#endif
