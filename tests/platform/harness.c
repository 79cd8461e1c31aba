/* Memory and guests for the tests and benchmarks. */
#include "tests/platform/harness.h"

#include <unistd.h>

const char *test_platform_name;
struct platform *test_platform;
int mem_fd;
unsigned char *mem;
static atomic_ulong mem_used;

uint64_t mem_alloc(uint64_t len)
{
    uint64_t off = atomic_fetch_add(&mem_used, (len + 0xfff) & ~0xfffUL);

    check(off + len <= MEM_SIZE);
    return off;
}

void map(struct platform_as *as, uint64_t addr, uint64_t len, int prot, uint64_t off)
{
    struct platform_op op = {.kind = PLATFORM_MAP, .prot = prot, .addr = addr, .len = len, .fd = mem_fd, .offset = off};

    check_eq(platform_as_apply(as, &op, 1), 0);
}

void unmap(struct platform_as *as, uint64_t addr, uint64_t len)
{
    struct platform_op op = {.kind = PLATFORM_UNMAP, .addr = addr, .len = len};

    check_eq(platform_as_apply(as, &op, 1), 0);
}

/* A text owner that lets the platform do as it likes with the code page of a guest. */
static int text_read(void *owner, uint64_t addr, void *buf, size_t len)
{
    struct guest *g = owner;

    if (addr < GUEST_CODE || addr + len > GUEST_CODE + 4096)
        return -1;
    memcpy(buf, guest_code(g) + (addr - GUEST_CODE), len);
    return 0;
}

static int text_patch(void *owner, uint64_t addr, const void *old_bytes, const void *new_bytes, size_t len)
{
    struct guest *g = owner;
    unsigned char *p = guest_code(g) + (addr - GUEST_CODE);

    if (memcmp(p, old_bytes, len))
        return -1;
    memcpy(p, new_bytes, len);
    return 0;
}

static const struct platform_text_ops text_ops = {text_read, text_patch};

void guest_init_as(struct guest *g, const struct program *prog, struct platform_as *fork_of)
{
    memset(g, 0, sizeof(*g));
    check_eq(platform_as_create(test_platform, fork_of, &text_ops, g, &g->as), 0);
    g->code_off = mem_alloc(4096);
    g->data_off = mem_alloc(4096);
    g->stack_off = mem_alloc(4096);
    memcpy(mem + g->code_off, prog->start, (size_t)(prog->end - prog->start));
    map(g->as, GUEST_CODE, 4096, PROT_READ | PROT_EXEC, g->code_off);
    map(g->as, GUEST_DATA, 4096, PROT_READ | PROT_WRITE, g->data_off);
    map(g->as, GUEST_STACK, 4096, PROT_READ | PROT_WRITE, g->stack_off);
}

void guest_init_context(struct guest *g)
{
    check_eq(platform_context_create(test_platform, &g->ctx), 0);
    g->regs = (struct guest_regs){.rip = GUEST_CODE, .rsp = GUEST_STACK + 4096, .rflags = 0x202};
}

void guest_init(struct guest *g, const struct program *prog)
{
    guest_init_as(g, prog, NULL);
    guest_init_context(g);
}

void guest_fini(struct guest *g)
{
    platform_context_destroy(g->ctx);
    platform_as_destroy(g->as);
}

void guest_run(struct guest *g)
{
    check_eq(platform_run(g->ctx, g->as, &g->regs, &g->ev), 0);
}

void guest_run_to_call(struct guest *g, uint64_t nr)
{
    guest_run(g);
    if (g->ev.kind != PLATFORM_EVENT_SYSCALL)
        fprintf(stderr, "event %d signo %d code %d addr %#lx trapno %u rip %#lx\n", (int)g->ev.kind, g->ev.signo, g->ev.code,
                (unsigned long)g->ev.addr, g->ev.trapno, (unsigned long)g->regs.rip);
    check_eq(g->ev.kind, PLATFORM_EVENT_SYSCALL);
    check_eq(g->regs.rax, nr);
}

void test_setup_memory(void)
{
    mem_fd = memfd_create("guest", MFD_CLOEXEC);
    check(ftruncate(mem_fd, MEM_SIZE) == 0);
    mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 0);
    check(mem != MAP_FAILED);
}
