/*
 * platform-stress BACKEND [SECONDS]: everything at once. Threads in shared address spaces make calls by rewritten and plain
 * sites, fault pages in and have them unmapped, are interrupted all the time, have FP state read and written, change address
 * spaces, and check after each step that the guest's registers are what they must be.
 */
#include "tests/platform/harness.h"

#include "lib/log.h"

#include <time.h>
#include <unistd.h>

PROGRAM(prog_stress);

#define SPACES     3
#define THREADS    4 /* in each space */
#define PAGES      16
#define FAULT_BASE 0x30000000ULL

static atomic_bool stop;
static struct guest spaces[SPACES];
static uint64_t page_off;

struct worker {
    pthread_t thread;
    struct guest g;
    unsigned int seed;
    _Atomic(struct platform_context *) ctx;
    pthread_mutex_t ctx_lock;
    atomic_ulong calls, faults, interrupts, moves, births;
};

static struct worker workers[SPACES * THREADS];

static unsigned int pick(struct worker *w, unsigned int n)
{
    return (unsigned int)rand_r(&w->seed) % n;
}

static void enter(struct worker *w, int space)
{
    uint64_t rbx = w->g.regs.rbx;

    w->g.as = spaces[space].as;
    w->g.regs = (struct guest_regs){.rip = GUEST_CODE,
                                    .rsp = GUEST_STACK + 4096,
                                    .rflags = 0x202,
                                    .rbx = rbx,
                                    .rsi = FAULT_BASE + 4096 * pick(w, PAGES),
                                    .r12 = (uint64_t)w};
}

static void *work(void *arg)
{
    size_t fp_size = (platform_fp_size(test_platform) + 63) & ~63UL;
    unsigned char *fp = aligned_alloc(64, fp_size);
    struct worker *w = arg;
    uint64_t expect = 0;
    bool have_expect = false;

    while (!atomic_load(&stop)) {
        pthread_mutex_lock(&w->ctx_lock);
        check_eq(platform_context_create(test_platform, &w->g.ctx), 0);
        atomic_store(&w->ctx, w->g.ctx);
        pthread_mutex_unlock(&w->ctx_lock);
        atomic_fetch_add(&w->births, 1);
        enter(w, (int)pick(w, SPACES));
        have_expect = false;
        for (int n = 0; n < 20000 && !atomic_load(&stop); n++) {
            guest_run(&w->g);
            check_eq(w->g.regs.r12, (uint64_t)w);
            check_eq(w->g.regs.rsp, GUEST_STACK + 4096);
            switch (w->g.ev.kind) {
            case PLATFORM_EVENT_SYSCALL:
                atomic_fetch_add(&w->calls, 1);
                check(w->g.regs.rax >= 1000 && w->g.regs.rax <= 1002);
                if (have_expect)
                    check_eq(w->g.regs.rbx, expect);
                expect = w->g.regs.rbx + 1;
                have_expect = true;
                w->g.regs.rax = 7;
                w->g.regs.rsi = FAULT_BASE + 4096 * pick(w, PAGES);
                break;
            case PLATFORM_EVENT_FAULT:
                atomic_fetch_add(&w->faults, 1);
                check(w->g.ev.addr >= FAULT_BASE && w->g.ev.addr < FAULT_BASE + PAGES * 4096);
                map(w->g.as, w->g.ev.addr & ~0xfffULL, 4096, PROT_READ, page_off);
                break;
            case PLATFORM_EVENT_INTERRUPTED:
                atomic_fetch_add(&w->interrupts, 1);
                break;
            default:
                fprintf(stderr, "exception %d code %d trapno %u rip %#lx\n", w->g.ev.signo, w->g.ev.code, w->g.ev.trapno,
                        (unsigned long)w->g.regs.rip);
                abort();
            }
            switch (pick(w, 400)) {
            case 0:
                unmap(w->g.as, FAULT_BASE, PAGES * 4096);
                break;
            case 1:
                /* xmm15 holds the same in all threads at all times, once set. */
                check_eq(platform_fp_get(w->g.ctx, fp), 0);
                for (int i = 0; i < 16; i++)
                    check(fp[160 + 15 * 16 + i] == 0 || fp[160 + 15 * 16 + i] == 0x5a);
                memset(fp + 160 + 15 * 16, 0x5a, 16);
                fp[512] |= 3;
                check_eq(platform_fp_set(w->g.ctx, fp), 0);
                break;
            case 2:
                if (w->g.ev.kind == PLATFORM_EVENT_SYSCALL) {
                    atomic_fetch_add(&w->moves, 1);
                    enter(w, (int)pick(w, SPACES));
                    have_expect = false;
                }
                break;
            case 3:
                platform_park(w->g.ctx);
                usleep(pick(w, 200));
                break;
            }
        }
        pthread_mutex_lock(&w->ctx_lock);
        atomic_store(&w->ctx, NULL);
        pthread_mutex_unlock(&w->ctx_lock);
        platform_context_destroy(w->g.ctx);
    }
    free(fp);
    return NULL;
}

static void *interrupt_all(void *arg)
{
    unsigned int seed = 1;

    while (!atomic_load(&stop)) {
        struct worker *w = &workers[(unsigned int)rand_r(&seed) % ARRAY_SIZE(workers)];

        pthread_mutex_lock(&w->ctx_lock);
        if (atomic_load(&w->ctx))
            platform_interrupt(atomic_load(&w->ctx));
        pthread_mutex_unlock(&w->ctx_lock);
        if (rand_r(&seed) % 4 == 0)
            usleep((unsigned int)rand_r(&seed) % 300);
    }
    return NULL;
}

static int read_text(void *owner, uint64_t addr, void *buf, size_t len)
{
    struct guest *g = owner;

    if (addr < GUEST_CODE || addr + len > GUEST_CODE + 4096)
        return -1;
    memcpy(buf, guest_code(g) + (addr - GUEST_CODE), len);
    return 0;
}

static int refuse_patch(void *owner, uint64_t addr, const void *old_bytes, const void *new_bytes, size_t len)
{
    return -1;
}

/* The text is not copied but shared with spaces[0], whose threads rewrite it. */
static const struct platform_text_ops read_only_text = {read_text, refuse_patch};

/* Address spaces that come and go, each with a little life in it, forked from one of the busy ones. */
static void *fork_and_die(void *arg)
{
    while (!atomic_load(&stop)) {
        struct guest g;
        struct platform_as *as;

        memset(&g, 0, sizeof(g));
        check_eq(platform_as_create(test_platform, spaces[0].as, &read_only_text, &spaces[0], &as), 0);
        g.as = as;
        map(as, GUEST_CODE, 4096, PROT_READ | PROT_EXEC, spaces[0].code_off);
        map(as, GUEST_STACK, 4096, PROT_READ | PROT_WRITE, spaces[0].stack_off);
        map(as, FAULT_BASE, 4096, PROT_READ, page_off);
        guest_init_context(&g);
        for (int i = 0; i < 50; i++) {
            g.regs.rsi = FAULT_BASE;
            guest_run(&g);
            check_eq(g.ev.kind, PLATFORM_EVENT_SYSCALL);
            check_eq(g.regs.rbx, i);
            g.regs.rax = 7;
        }
        guest_fini(&g);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct platform_config config = {.name = argc > 1 ? argv[1] : "auto"};
    int seconds = argc > 2 ? atoi(argv[2]) : 5;
    unsigned long calls = 0, faults = 0, interrupts = 0, moves = 0, births = 0;
    pthread_t kicker, forker;
    char why[512];

    if (getenv("PLATFORM_TEST_LOG"))
        log_init(2, LOG_LEVEL_DEBUG);
    test_setup_memory();
    if (platform_create(&config, &test_platform, why, sizeof(why))) {
        fprintf(stderr, "no platform: %s\n", why);
        return 77;
    }
    alarm((unsigned int)seconds + 120);
    page_off = mem_alloc(4096);
    for (int i = 0; i < SPACES; i++)
        guest_init_as(&spaces[i], &prog_stress, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
        workers[i].seed = (unsigned int)i + 1;
        pthread_mutex_init(&workers[i].ctx_lock, NULL);
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    pthread_create(&kicker, NULL, interrupt_all, NULL);
    pthread_create(&forker, NULL, fork_and_die, NULL);
    sleep((unsigned int)seconds);
    atomic_store(&stop, true);
    pthread_join(kicker, NULL);
    pthread_join(forker, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
        pthread_join(workers[i].thread, NULL);
        calls += workers[i].calls;
        faults += workers[i].faults;
        interrupts += workers[i].interrupts;
        moves += workers[i].moves;
        births += workers[i].births;
    }
    for (int i = 0; i < SPACES; i++)
        platform_as_destroy(spaces[i].as);
    platform_destroy(test_platform);
    printf("%lu calls, %lu faults, %lu interrupts, %lu moves, %lu contexts\n", calls, faults, interrupts, moves, births);
    return 0;
}
