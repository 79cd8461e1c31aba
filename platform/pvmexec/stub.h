/*
 * The stub engine, inside.
 *
 * A *stub* is a process that lends its address space to a guest. Its first thread, the *mapper*, changes the address space when
 * the sentry says so; every other is a *stub thread*, which runs one guest thread. A stub thread traps whatever the guest
 * does, leaves the registers in its *slot*, a piece of memory shared with the sentry, gives the *turn* to the sentry thread
 * that owns the context, and waits for its next turn.
 *
 * Trust: a guest can write its stub's slots and jump to any instruction of the stub code. So what the sentry reads from a slot
 * is a claim about the guest that made it, and nothing more; results of the mapper come through a file page that no guest can
 * write. See docs/platforms.md.
 *
 * Locks, outermost first: stub_as.patch_lock, stub_as.lock, stub_platform.spare_lock, stub_family.lock, zygote.lock,
 * arena.lock.
 */
#ifndef PLATFORM_PVMEXEC_STUB_H
#define PLATFORM_PVMEXEC_STUB_H

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/refcount.h"
#include "platform/arch/pristine.h"
#include "platform/internal.h"
#include "platform/pvmexec/layout.h"

#include <sched.h>
#include <stdatomic.h>

/* --- arena.c: pieces of the one file that the sentry shares with all stubs --- */

enum arena_kind { ARENA_PAGE, ARENA_SLOT, ARENA_FAMILY, ARENA_KINDS };

struct arena {
    int fd;
    unsigned char *base; /* the file as the sentry sees it */
    struct mutex lock;
    uint64_t next GUARDED_BY(lock);                                /* never used beyond here */
    struct arena_piece *free_pieces[ARENA_KINDS] GUARDED_BY(lock); /* a page, SLOT_SIZE or ARENA_FAMILY_SIZE each */
    unsigned int nr_warm[ARENA_KINDS] GUARDED_BY(lock);            /* of those, how many have memory */
};

int must_check arena_init(struct arena *a, int fd, uint64_t first);
void arena_fini(struct arena *a);
/* A zeroed piece; its file offset, or a negative errno. */
int64_t must_check arena_alloc(struct arena *a, enum arena_kind kind);
/* No stub may have the piece mapped any more. */
void arena_free(struct arena *a, enum arena_kind kind, uint64_t off);
#define ARENA_FILE_SIZE   (16ULL << 30)
#define ARENA_FAMILY_SIZE (STUB_TABLE_END - STUB_TABLE + TRAMPOLINES_MAX * TRAMPOLINE_SIZE)

static inline void *arena_ptr(const struct arena *a, uint64_t off)
{
    return a->base + off;
}

/* --- filter.c --- */

/* Writes the seccomp program of all stub processes into the globals page. */
void stub_write_filter(unsigned char *globals);

/* --- zygote.c: where stub processes come from --- */

/* Slots that a process keeps from one address space to the next. One with more threads than that is not used again. */
#define STUB_KEPT_SLOTS 4

struct stub_process {
    pid_t pid;
    uint64_t commands;               /* file offset of its commands page */
    uint64_t slots[STUB_KEPT_SLOTS]; /* file offsets of the first slots, mapped and zero but for what the threads here use */
    unsigned int nr_slots;
    int mapper_cpu; /* where the mapper is pinned, or -1 */
};

struct zygote {
    struct mutex lock;
    pid_t pid;
    unsigned char *birth; /* the birth page */
    uint64_t birth_off;
};

struct stub_platform;
int must_check zygote_start(struct stub_platform *p, uint64_t globals_off);
void zygote_stop(struct stub_platform *p);
/* A new stub, alone in its address space; its mapper waits for commands or will soon. */
int must_check zygote_take(struct stub_platform *p, struct stub_process *out);

/* --- place.c, line.c: where threads run, and who may spin --- */

#define PLACE_CPUS      CPU_SETSIZE
#define PLACE_ELSEWHERE PLACE_CPUS /* for a stub thread's pinned_cpu: not where its owner is */

enum place_kind { PLACE_FREE, PLACE_SPIN, PLACE_SHARED };

struct place {
    atomic_int load; /* CPUs wanted: one for every context that is awake and one more if it hands over by spinning */
    atomic_int cpus; /* in the sandbox's affinity mask, when last looked */
    struct mutex mask_lock;
    cpu_set_t mask GUARDED_BY(mask_lock);
    pid_t free_pid;          /* a process with that mask */
    atomic_llong next_look;  /* when to look again, CLOCK_MONOTONIC_COARSE ns */
    atomic_uint *crowded;    /* in the globals page: load exceeds the CPUs */
    unsigned int spin_loops; /* how often a stub looks before it sleeps */
    uint64_t tsc_per_us;
    atomic_int home;     /* the CPU that was last shared, or -1 */
    atomic_int spinners; /* contexts that hand over by spinning */
    atomic_int dull;     /* awake contexts that would not gain by it */
    struct mutex line_lock;
    struct list_head line GUARDED_BY(line_lock); /* contexts that wait for their time to spin */
    atomic_int in_line;                          /* how many */
    atomic_int pairs[PLACE_CPUS];                /* awake contexts that share the CPU */
};

/* --- the platform --- */

#define STUB_SPARE 8

struct stub_platform {
    struct platform base;
    struct pristine_image image;
    struct arena arena;
    struct zygote zygote;
    struct place place;
    struct mutex spare_lock;
    struct list_head zombies GUARDED_BY(spare_lock); /* address spaces whose processes were killed and are not reaped yet */
    struct stub_process spare[STUB_SPARE] GUARDED_BY(spare_lock);
    unsigned int nr_spare GUARDED_BY(spare_lock);
};

void stub_platform_destroy(struct stub_platform *p);

/* --- as.c --- */

#define STUB_LATER 4

struct stub_range {
    uint64_t addr, len;
};

struct stub_family; /* sites.h */

struct stub_as {
    struct platform_as base;
    struct refcount refs; /* one for the process until it is reaped, and one of each context whose thread is here */
    const struct platform_text_ops *text;
    void *owner;
    struct stub_process proc;
    atomic_bool dead;                                     /* the stub process was killed, or refuses to work */
    uint64_t clock_start;                                 /* CPU time that the process had used before; immutable */
    struct mutex lock;                                    /* serialises the mapper */
    uint64_t slots_used GUARDED_BY(lock);                 /* slot numbers given out so far */
    unsigned int nr_owned GUARDED_BY(lock);               /* threads that contexts have */
    uint64_t mapper_ticks GUARDED_BY(lock);               /* that its orders took, by the time-stamp counter */
    struct stub_range later[STUB_LATER] GUARDED_BY(lock); /* what is unmapped as far as the guest says, see unmap_later.c */
    unsigned int nr_later GUARDED_BY(lock);
    struct list_head idle_threads GUARDED_BY(lock); /* threads without a context */
    struct list_head threads GUARDED_BY(lock);      /* all of them */
    struct list_head zombie_node;                   /* in stub_platform.zombies */
    bool buried GUARDED_BY(lock);                   /* the process serves others or is gone, and what it had mapped is free */
    _Atomic(struct stub_family *) family; /* NULL until a site is rewritten or the process forks; set once under `lock` */
    bool family_mapped GUARDED_BY(lock);
    struct mutex patch_lock; /* held while a site is rewritten; outside of `lock` and of what text ops take */
    atomic_bool patching;    /* keeps contexts from entering guest code; set under `patch_lock` */
};

int stub_as_create(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                   struct platform_as **out);
void stub_as_destroy(struct platform_as *as);
int stub_as_apply(struct platform_as *as, const struct platform_op *ops, size_t n);
void stub_as_put(struct stub_as *as);
/*
 * What the only thread that this address space has had used of the CPU, in nanoseconds, about; false if there were others, or
 * if it is so much that it should be known exactly.
 */
bool stub_as_lone_time(struct stub_as *as, uint64_t *ns);
/* Kills the stub; all its threads' contexts will find out. Any thread. */
void stub_as_kill(struct stub_as *as);

/* --- recycle.c --- */

/* Tells the threads to end. Whether they have: false if not yet, or they belong to contexts, or are too many. */
bool stub_dismiss_threads(struct stub_as *as) REQUIRES(as->lock);
/* Gives them a moment more; true if they are gone and the mapper still works. */
bool stub_await_threads(struct stub_as *as) REQUIRES(as->lock);
/*
 * The address space is destroyed. Keeps its process for others, if its threads are `gone` and the mapper has worked since, or
 * ends it; what is not `working` has to be gone on return. The process's reference to `as` is dropped, sooner or later.
 */
void stub_retire(struct stub_as *as, bool working, bool gone);
/* Buries the dead; `wait`: all of them. */
void stub_reap_zombies(struct stub_platform *p, bool wait);
/* A process without threads or memory of guests; false: there is none. */
bool stub_take_spare(struct stub_platform *p, struct stub_process *out);
void stub_end_spare(struct stub_platform *p);

/* --- unmap_later.c --- */

bool stub_as_unmap_later(struct platform_as *as, uint64_t addr, uint64_t len);

struct mapper_op;
struct stub_context;

/*
 * Before `ops` are applied: fills in calls that unmap what was to be unmapped and is not covered by them, and how many of `ops`
 * must have succeeded (all of the calls come first) for each range to be settled. After: `done` of them succeeded.
 */
size_t stub_later_begin(struct stub_as *as, const struct platform_op *ops, size_t n, struct mapper_op *calls, size_t *needed)
    REQUIRES(as->lock);
void stub_later_end(struct stub_as *as, size_t done, const size_t *needed) REQUIRES(as->lock);
/* What the context's thread is to unmap before it goes on. Owner only. */
void stub_context_put_unmap(struct stub_context *ctx, struct stub_range range);

/* --- mapper.c --- */

struct mapper_op {
    uint64_t nr, args[6];
};

/* Makes an empty commands page ready for a new stub. */
void mapper_init_commands(const struct arena *a, uint64_t off);
/* Clears what was asked of a mapper that waits. */
void mapper_forget(const struct arena *a, uint64_t off);
/*
 * Has the mapper make up to OPS_MAX system calls, until one fails. Returns how many succeeded, or a negative errno if the stub
 * is dead; `last` is the result of the call that failed, or of a clone, which must come last.
 */
int must_check mapper_run(struct stub_as *as, const struct mapper_op *ops, size_t n, int64_t *last) REQUIRES(as->lock);

/* --- thread.c --- */

struct stub_as;

struct stub_thread {
    struct list_head node;      /* in stub_as.threads */
    bool owned;                 /* by a context; guarded by as->lock */
    bool fresh;                 /* never was; guarded by as->lock */
    struct list_head idle_node; /* in stub_as.idle_threads, or unlinked */
    struct stub_as *as;
    pid_t tid;            /* 0: not started */
    bool slot_mapped;     /* already */
    bool with_family;     /* the family's memory is mapped with it */
    uint64_t slot_off;    /* file offset */
    uint64_t slot_va;     /* in the stub */
    unsigned char *slot;  /* in the sentry */
    int pinned_cpu;       /* -1 if not pinned */
    bool in_frame;        /* the thread waits in a signal handler, else in the trampoline code; as the sentry believes */
    uint32_t frame_off;   /* in_frame: where in the slot its frame is; checked */
    atomic_bool in_guest; /* the turn is the guest's */
};

/* A thread for a context, with the initial FP state of a program if `fresh_fp` comes back true. */
int must_check stub_thread_get(struct stub_as *as, struct stub_thread **out, bool *fresh_fp);
/*
 * A thread ahead of need: fills in the operations that make it, for the caller to have them carried out last, and to tell how
 * many were and what the last result was. 0: none can be made.
 */
#define STUB_BIRTH_OPS 5
size_t stub_thread_prepare(struct stub_as *as, struct mapper_op *ops, struct stub_thread **out) REQUIRES(as->lock);
void stub_thread_prepared(struct stub_as *as, struct stub_thread *t, size_t n, int done, int64_t last) REQUIRES(as->lock);
/* Gives it back, for another context in the same address space. */
void stub_thread_put(struct stub_thread *t);
/* Frees what is left of a thread, and its slot unless the process keeps that; under t->as->lock. */
void stub_thread_free(struct stub_thread *t);

static inline atomic_uint *slot_u32(const struct stub_thread *t, uint32_t off)
{
    return (atomic_uint *)(t->slot + off);
}

/* --- context.c --- */

/* How often calls came from one place lately. */
struct site_heat {
    uint64_t rip;
    uint16_t count;
    uint16_t busy; /* attempts to rewrite it that failed because other threads were running */
};

struct stub_context {
    struct platform_context base;
    struct stub_thread *thread; /* NULL before the first run */
    atomic_bool interrupted;
    atomic_ullong kickable; /* process and thread id of the thread while it may be in guest code, else 0 */
    /* place.c */
    bool awake; /* counted in place.load */
    enum place_kind place;
    int pinned_cpu;             /* of the owner; -1 if not pinned */
    unsigned int spell;         /* calls since it spins */
    unsigned int hold, penalty; /* calls to make before it spins again; and the last such number */
    unsigned int yield_hold, yield_penalty, yield_spell;
    unsigned int calls_unmapped;                      /* since the owner last changed the mappings */
    uint64_t awake_since, last_call, contended_since; /* time-stamp counter */
    struct list_head line_node;                       /* place.line_lock */
    atomic_uint line_word;                            /* what became of the wait in the line; a futex word */
    bool dull;                                        /* counted in place.dull */
    uint64_t pace, spin_since; /* ticks that usually pass from one turn given to the next, and since when it spins */
    uint64_t burst;            /* how long it is usually awake between two parks, in ticks; 0 if never parked */
    bool have_answers;
    struct platform_answers answers;
    struct stub_range unmap; /* len 0: nothing */
    bool fs_loaded;          /* the thread's FS base is last_fs */
    uint64_t last_fs;
    /*
     * A thread that is back from a call by a SITE_CMP trampoline is at real_rip there; the owner is told the address behind
     * the syscall instruction, reported_rip. 0 if there is nothing to translate.
     */
    uint64_t reported_rip, real_rip;
    struct site_heat heat[32];
    unsigned char *fp_pending;     /* an FP state to be loaded before the next run, or NULL */
    atomic_ullong cpu_time_before; /* of former threads, less what the present one had used before */
    atomic_int clock_tid;          /* of the present one; 0: none */
    atomic_ullong cpu_time_told;   /* the most that was reported */
};

extern const struct platform_vtable stub_vtable;
/* The context that this host thread ran last, if it is in `as`; NULL otherwise. */
struct stub_context *stub_own_context(const struct stub_as *as);
/* The address space is about to be destroyed: what the context has there is dropped. Owner only. */
void stub_context_leave(struct stub_context *ctx);

static inline struct place *place_of(const struct stub_context *ctx)
{
    return &container_of(ctx->base.p, struct stub_platform, base)->place;
}

void place_init(struct place *s, atomic_uint *crowded, pid_t free_pid);
/* All by the owner. Before a run: waits while it is others' time to spin. */
void place_before_run(struct stub_context *ctx);
/* Before the turn is given: whether to wait by spinning. */
bool place_before_turn(struct stub_context *ctx);
/* While it spins: whether to go on. */
bool place_keep_spinning(struct stub_context *ctx);
/* If it does not spin: how often to yield the CPU before sleeping; and after doing so, whether that brought the turn. */
unsigned int place_yields(struct stub_context *ctx);
void place_yielded(struct stub_context *ctx, bool turn_is_back);
/* Before it sleeps until the turn comes back, and after doing so for very long. */
void place_before_sleep(struct stub_context *ctx);
void place_long_sleep(struct stub_context *ctx);
/* The owner is about to change the address space that the context's thread is in. */
void place_before_mapping(struct stub_context *ctx);
/* The owner is about to block, or to give up the context's thread. */
void place_park(struct stub_context *ctx);
void place_release(struct stub_context *ctx);

/* --- handoff.c --- */

/* Gives the turn to the stub thread and waits to get it back. 0, or -ESRCH when the thread or its process is dead. */
int must_check handoff(struct stub_context *ctx, struct stub_thread *t, uint32_t command);
/* Sends the kick signal to the context's thread, if it may be in guest code. Any thread. */
void stub_kick(struct stub_context *ctx);

#endif
