/*
 * Hostile guests: they know where the stub's memory and code are, write to all they can, and jump to wherever they like.
 * Whatever becomes of them, the sentry must neither crash nor hang, nor may anything be mapped that it did not ask for.
 *
 * Only the stub engine has something to hijack; other platforms run the same programs against empty addresses.
 */
#include "tests/platform/harness.h"

#include "platform/pvmexec/arch/image.h"
#include "platform/pvmexec/stub.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

PROGRAM(prog_count);
PROGRAM(prog_count_plain);
PROGRAM(prog_scribble);
PROGRAM(prog_jump);
PROGRAM(prog_feign);

#define VICTIM 0x20000000ULL

static atomic_bool stop;

struct hostile {
    pthread_t thread;
    struct guest g;
    const struct program *prog;
    uint64_t entry;
    atomic_ulong events;
    atomic_bool done, release;
};

static atomic_ullong random_state = 88172645463325252ULL;

static uint64_t next_random(void)
{
    uint64_t x = atomic_load(&random_state);

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    atomic_store(&random_state, x);
    return x;
}

/* The context is made before the thread, which the stub engine does not mind, so that it can be interrupted at once. Runs until
 * told to stop, or until the platform gives up on the thread. Faults and calls alike start it again. */
static void *run_hostile(void *arg)
{
    struct hostile *h = arg;

    h->g.regs.rip = h->entry;
    h->g.regs.rbx = next_random() | 1;
    h->g.regs.rdi = STUB_SLOTS;
    h->g.regs.rsi = 6;
    while (!atomic_load(&stop)) {
        if (platform_run(h->g.ctx, h->g.as, &h->g.regs, &h->g.ev) < 0)
            break;
        atomic_fetch_add(&h->events, 1);
        if (h->g.ev.kind == PLATFORM_EVENT_INTERRUPTED)
            continue;
        if (h->g.ev.kind == PLATFORM_EVENT_SYSCALL && h->g.regs.rip < platform_limits(test_platform)->max)
            continue;
        h->g.regs = (struct guest_regs){.rip = h->entry,
                                        .rsp = GUEST_STACK + 4096,
                                        .rflags = 0x202,
                                        .rbx = next_random() | 1,
                                        .rdi = STUB_SLOTS,
                                        .rsi = 6,
                                        .rbp = 1000};
    }
    atomic_store(&h->done, true);
    while (!atomic_load(&h->release))
        usleep(100);
    platform_context_destroy(h->g.ctx);
    return NULL;
}

/* Two scribblers and two victims in one address space, all over each other's slots, many times. */
static void scribbling_over_all_slots(void)
{
    for (int round = 0; round < 40; round++) {
        struct hostile h[4] = {0};
        struct guest as;
        unsigned char code[4096];

        guest_init_as(&as, &prog_scribble, NULL);
        memcpy(guest_code(&as) + 2048, prog_count.start, (size_t)(prog_count.end - prog_count.start));
        memcpy(guest_code(&as) + 3072, prog_count_plain.start, (size_t)(prog_count_plain.end - prog_count_plain.start));
        memcpy(code, guest_code(&as), sizeof(code));
        atomic_store(&stop, false);
        for (int i = 0; i < 4; i++) {
            h[i].g = as;
            h[i].entry = GUEST_CODE + (i == 1 ? 2048 : i == 2 ? 3072 : 0);
            guest_init_context(&h[i].g);
            pthread_create(&h[i].thread, NULL, run_hostile, &h[i]);
        }
        usleep(30000);
        atomic_store(&stop, true);
        for (int i = 0; i < 4; i++) {
            while (!atomic_load(&h[i].done)) {
                platform_interrupt(h[i].g.ctx);
                usleep(1000);
            }
            atomic_store(&h[i].release, true);
            pthread_join(h[i].thread, NULL);
        }
        platform_as_destroy(as.as);
    }
}

static void *watchdog(void *arg)
{
    struct guest *g = arg;

    while (!atomic_load(&stop)) {
        usleep(500);
        platform_interrupt(g->ctx);
    }
    return NULL;
}

/* What the stub process has mapped in the guest's range, line by line; empty if it is dead. */
static void guest_maps(struct guest *g, char *buf, size_t size)
{
    struct stub_as *as = container_of(g->as, struct stub_as, base);
    char path[64], line[512];
    size_t used = 0;
    FILE *f;

    buf[0] = '\0';
    snprintf(path, sizeof(path), "/proc/%d/maps", as->proc.pid);
    f = fopen(path, "r");
    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        if (strtoull(line, NULL, 16) >= platform_limits(test_platform)->max)
            continue;
        check(used + strlen(line) < size);
        strcpy(buf + used, line);
        used += strlen(line);
    }
    fclose(f);
}

/* Guests may unmap what they have, but nothing else. */
static void check_nothing_is_new(const char *before, const char *now)
{
    while (*now) {
        size_t len = strcspn(now, "\n") + 1;
        char line[512];

        check(len < sizeof(line));
        memcpy(line, now, len);
        line[len] = '\0';
        check(strstr(before, line) != NULL);
        now += len;
    }
}

static int count_children(void)
{
    char path[64], line[256];
    int n = 0;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "r");
    if (!f)
        return -1;
    while (fscanf(f, "%255s", line) == 1)
        n++;
    fclose(f);
    return n;
}

/* The guest loads its registers from here and jumps. */
struct jump_regs {
    uint64_t rax, rdi, rsi, rdx, r10, r8, r9, rbx, rbp, r12, r13, r14, r15, target, gs, rsp;
};

/* The first would let the rest succeed. */
static const struct jump_regs evil[] = {
    {157, 59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0},
    {9, VICTIM, 4096, 7, 0x11, 0 /* the memory file */, 0},
    {10, GUEST_CODE, 4096, 7},
    {11, GUEST_CODE, 4096},
    {11, STUB_GLOBALS, 4096},
    {18, 0 /* the memory file */, STUB_CODE, 8, 0 /* a victim's page */},
    {56, 0x8400},
    {62, 1 /* the sentry */, 9},
    {231, 0},
    {202, STUB_SLOTS + 0x1000, 0, 2, 0, 0, 0},
    {317, 1, 8, STUB_GLOBALS + GLOBAL_FPROG},
    {15},
};

static void end_hijack(struct guest *g, pthread_t dog)
{
    atomic_store(&stop, true);
    pthread_join(dog, NULL);
    guest_fini(g);
}

static pid_t process_of(const struct guest *g)
{
    return container_of(g->as, struct stub_as, base)->proc.pid;
}

static int count_threads(pid_t pid)
{
    char path[64];
    int n = 0;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    d = opendir(path);
    check(d != NULL);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Whether memory of the stub is all zero. */
static bool is_clear(pid_t pid, uint64_t addr, size_t len)
{
    unsigned char buf[SLOT_SIZE] = {0};
    char path[64];
    bool clear = true;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/mem", pid);
    fd = open(path, O_RDONLY);
    check(fd >= 0);
    check_eq(pread(fd, buf, len, (off_t)addr), (long long)len);
    close(fd);
    for (size_t i = 0; i < len; i++)
        clear = clear && buf[i] == 0;
    return clear;
}

/* Jumps to each byte of the stub's code, with the arguments of harmful calls in the registers. */
static void jumping_into_stub_code(void)
{
    uint64_t len = (uint64_t)(stub_image_end - stub_image_start), victim = mem_alloc(4096);
    char maps[4096], now[4096];
    bool have_as = false;
    int deaths = 0, unmapped = 0, children = 0;
    pthread_t dog;
    struct guest g;

    for (size_t e = 0; e < ARRAY_SIZE(evil); e++) {
        for (uint64_t off = 0; off < len; off++) {
            struct jump_regs *r;
            int interrupts = 0;

            if (!have_as) {
                guest_init(&g, &prog_jump);
                guest_run_to_call(&g, 1000);
                guest_maps(&g, maps, sizeof(maps));
                atomic_store(&stop, false);
                pthread_create(&dog, NULL, watchdog, &g);
                have_as = true;
            }
            r = (struct jump_regs *)guest_data(&g);
            *r = evil[e];
            if (r->rax == 9)
                r->r8 = (uint64_t)mem_fd;
            if (r->rax == 18) {
                r->rdi = (uint64_t)mem_fd;
                r->r10 = victim;
            }
            if (r->rax == 62)
                r->rdi = (uint64_t)getpid();
            r->rbx = r->r12 = r->rbp = off % 3 ? STUB_SLOTS : GUEST_DATA + 2048;
            r->r13 = 1;
            r->r14 = 1;
            r->r15 = off % 2 ? STUB_CODE + off : GUEST_CODE;
            r->target = STUB_CODE + off;
            r->gs = off % 5 ? STUB_SLOTS : GUEST_DATA;
            r->rsp = off % 7 ? STUB_SLOTS + 0x3000 : GUEST_STACK + 2048;
            g.regs = (struct guest_regs){.rip = GUEST_CODE, .rsp = GUEST_STACK + 4096, .rflags = 0x202};
            for (;;) {
                if (platform_run(g.ctx, g.as, &g.regs, &g.ev) < 0) {
                    deaths++;
                    end_hijack(&g, dog);
                    have_as = false;
                    break;
                }
                if (g.ev.kind != PLATFORM_EVENT_INTERRUPTED || ++interrupts == 3)
                    break;
            }
            if (have_as && (off % 16 == 0 || g.ev.kind == PLATFORM_EVENT_FAULT)) {
                guest_maps(&g, now, sizeof(now));
                check_nothing_is_new(maps, now);
                if (strcmp(maps, now) != 0) {
                    unmapped++;
                    end_hijack(&g, dog);
                    have_as = false;
                }
            }
            check(memcmp(mem + victim, "\0\0\0\0\0\0\0", 8) == 0);
            if (have_as && evil[e].rax == 11 && strcmp(test_platform_name, "pvmexec:stub") == 0)
                check(!is_clear(process_of(&g), STUB_GLOBALS + GLOBAL_FILTER, 64)); /* still mapped */
            if (off == len / 2 && e == 0)
                children = count_children();
        }
    }
    printf("    %d of %zu jumps killed their process, %d unmapped some of it\n", deaths, ARRAY_SIZE(evil) * (size_t)len,
           unmapped);
    if (children > 0)
        check(count_children() <= children + 8 + STUB_SPARE);
    if (have_as)
        end_hijack(&g, dog);
}

static void old_processes_know_nothing(void)
{
    struct guest g, other;
    char maps[4096];
    pid_t pid;

    if (strcmp(test_platform_name, "pvmexec:stub") != 0)
        return;
    guest_init(&g, &prog_count);
    g.regs.rbx = 100;
    for (int i = 0; i < 50; i++)
        guest_run(&g);
    pid = process_of(&g);
    check(!is_clear(pid, STUB_COMMANDS + COMMANDS_OPS, 64));
    check(!is_clear(pid, STUB_SLOTS, SLOT_SIZE));
    guest_fini(&g);

    check_eq(platform_as_create(test_platform, NULL, NULL, NULL, &other.as), 0);
    check_eq(process_of(&other), pid);
    check_eq(count_threads(pid), 1);
    guest_maps(&other, maps, sizeof(maps));
    check_eq(strlen(maps), 0);
    check(is_clear(pid, STUB_COMMANDS + COMMANDS_OPS, 4096 - COMMANDS_OPS));
    check(is_clear(pid, STUB_SLOTS, SLOT_SIZE));
    platform_as_destroy(other.as);
}

static void dead_processes_are_not_used_again(void)
{
    struct guest g;
    pid_t pid;

    if (strcmp(test_platform_name, "pvmexec:stub") != 0)
        return;
    guest_init(&g, &prog_count);
    guest_run(&g);
    pid = process_of(&g);
    guest_fini(&g);
    kill(pid, SIGKILL);
    while (waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT | __WALL) < 0)
        check(errno == EINTR);
    for (int i = 0; i < 3; i++) {
        guest_init(&g, &prog_count);
        check(process_of(&g) != pid);
        guest_run(&g);
        guest_fini(&g);
    }
}

/* A thread that runs on although it said that it waits, in stub code, where it needs no memory of the guest's. */
static void process_with_a_thread_that_stays_ends(void)
{
    struct guest g, other;
    pid_t pid;

    if (strcmp(test_platform_name, "pvmexec:stub") != 0)
        return;
    guest_init(&g, &prog_feign);
    g.regs.rdi = STUB_SLOTS + SLOT_TURN;
    g.regs.rdx = 12345; /* not what the word is: waiting ends at once */
    g.regs.r15 = stub_code_addr(stub_futex_ip) - 10;
    guest_run(&g);
    pid = process_of(&g);
    check_eq(count_threads(pid), 2);
    guest_fini(&g);
    for (int i = 0;; i++) {
        check_eq(platform_as_create(test_platform, NULL, NULL, NULL, &other.as), 0);
        check(process_of(&other) != pid);
        platform_as_destroy(other.as);
        if (kill(pid, 0) < 0 && errno == ESRCH)
            break;
        check(i < 10000);
        usleep(1000);
    }
}

const struct test hijack_tests[] = {
    {"old_processes_know_nothing", old_processes_know_nothing},
    {"dead_processes_are_not_used_again", dead_processes_are_not_used_again},
    {"process_with_a_thread_that_stays_ends", process_with_a_thread_that_stays_ends},
    {"scribbling_over_all_slots", scribbling_over_all_slots},
    {"jumping_into_stub_code", jumping_into_stub_code},
    {NULL, NULL},
};
