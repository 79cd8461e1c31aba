/*
 * The memory manager against a platform that only keeps a list of what is mapped: after each operation this list must agree
 * with the page tables, entry by entry, and guest memory with a simple model of what Linux does.
 */
#include "sentry/mm/mm_internal.h"
#include "sentry/mm/text.h"
#include "sentry/mm/usercopy.h"
#include "vfs/inode.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARENA       0x100000000ULL
#define ARENA_PAGES 192

/* The fake platform: one entry a mapped page, found by hashing. */

#define SLOTS (1U << 16)

struct fake_page {
    uint64_t addr; /* 0: empty */
    uint64_t off;
    int fd, prot;
};

struct platform_as {
    struct fake_page page[SLOTS];
    unsigned int nr_calls;
};

static int fake_platform;
static int fail_next_apply; /* errno */
static bool can_unmap_later;

static struct fake_page *fake_find(struct platform_as *as, uint64_t addr)
{
    unsigned int i = (unsigned int)(addr / PAGE * 2654435761U) % SLOTS;

    while (as->page[i].addr && as->page[i].addr != addr)
        i = (i + 1) % SLOTS;
    return &as->page[i];
}

const struct platform_limits *platform_limits(const struct platform *p)
{
    static const struct platform_limits limits = {.min = 0x10000, .max = 0x7fff80000000ULL};
    return &limits;
}

int platform_as_create(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                       struct platform_as **out)
{
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : -ENOMEM;
}

void platform_as_destroy(struct platform_as *as)
{
    free(as);
}

static void fake_apply_page(struct platform_as *as, const struct platform_op *op, uint64_t addr)
{
    struct fake_page *p = fake_find(as, addr);

    switch (op->kind) {
    case PLATFORM_MAP:
        *p = (struct fake_page){.addr = addr, .off = op->offset + (addr - op->addr), .fd = op->fd, .prot = op->prot};
        break;
    case PLATFORM_PROTECT:
        cr_assert_eq(p->addr, addr, "protecting a page that is not mapped: %lx", (unsigned long)addr);
        cr_assert_neq(p->fd, -1, "protecting a page that is not mapped: %lx", (unsigned long)addr);
        p->prot = op->prot;
        break;
    case PLATFORM_UNMAP:
        if (p->addr)
            p->fd = -1; /* the slot stays, for the probing */
        break;
    }
}

int platform_as_apply(struct platform_as *as, const struct platform_op *ops, size_t n)
{
    as->nr_calls++;
    if (fail_next_apply) {
        int e = fail_next_apply;
        fail_next_apply = 0;
        return -e;
    }
    for (size_t i = 0; i < n; i++) {
        if (ops[i].kind == PLATFORM_UNMAP && ops[i].len > 1ULL << 40) {
            for (unsigned int s = 0; s < SLOTS; s++)
                as->page[s].fd = -1;
            continue;
        }
        for (uint64_t a = ops[i].addr; a < ops[i].addr + ops[i].len; a += PAGE)
            fake_apply_page(as, &ops[i], a);
    }
    return 0;
}

bool platform_as_unmap_later(struct platform_as *as, uint64_t addr, uint64_t len)
{
    const struct platform_op op = {.kind = PLATFORM_UNMAP};

    for (uint64_t a = addr; can_unmap_later && a < addr + len; a += PAGE)
        fake_apply_page(as, &op, a);
    return can_unmap_later;
}

/* What every test needs. */

static struct memfile *mf;
static struct mm_shared *shared;
static const struct mm_limits no_limits = {.as = UINT64_MAX, .data = UINT64_MAX, .stack = 8 << 20, .memlock = UINT64_MAX};

static void setup(void)
{
    cr_assert_eq(memfile_create(1ULL << 32, &mf), 0);
    cr_assert_eq(mm_shared_create((struct platform *)&fake_platform, mf, 1ULL << 32, &shared), 0);
}

static void teardown(void)
{
    cr_assert_eq(memfile_used(mf), 0, "pages are left over");
    mm_shared_destroy(shared);
    memfile_destroy(mf);
}

static struct mm *new_mm(void)
{
    struct mm_exec_layout l;
    struct mm *mm;

    cr_assert_eq(mm_create(shared, &mm), 0);
    mm_plan_exec(mm, 8 << 20, false, &l);
    cr_assert_eq(mm_finish_load(mm, 0, 0), 0);
    return mm;
}

static int64_t map_anon(struct mm *mm, uint64_t addr, uint64_t len, int prot, int flags)
{
    return mm_mmap(mm, &no_limits, addr, len, prot, MAP_ANONYMOUS | flags, NULL, 0);
}

/* The platform's list and the page tables say the same. */
static void check_agreement(struct mm *mm)
{
    struct platform_as *as = mm_platform_as(mm);

    for (unsigned int i = 0; i < SLOTS; i++) {
        const struct fake_page *p = &as->page[i];
        if (!p->addr)
            continue;
        pte_t pte = ptab_get(&mm->pt, p->addr);
        if (p->fd == -1) {
            cr_assert(!(pte & PTE_MAPPED), "%lx is mapped in the page tables only", (unsigned long)p->addr);
            continue;
        }
        struct vma *v = vma_at(mm, p->addr);
        cr_assert(v != NULL, "%lx is mapped without a vma", (unsigned long)p->addr);
        cr_assert(pte & PTE_MAPPED, "%lx is mapped in the platform only", (unsigned long)p->addr);
        cr_assert_eq(!!(p->prot & PROT_WRITE), !!(pte & PTE_WRITE), "%lx: write permission differs", (unsigned long)p->addr);
        cr_assert(!(p->prot & PROT_WRITE) || (v->flags & VM_WRITE), "%lx: writable against the vma", (unsigned long)p->addr);
        cr_assert_eq(!!(p->prot & PROT_EXEC), !!(v->flags & VM_EXEC));
        if (!(pte & PTE_FILE)) {
            cr_assert_eq(p->fd, memfile_fd(mf));
            cr_assert_eq(p->off, pte & PTE_FRAME, "%lx: another page is mapped", (unsigned long)p->addr);
        }
        if ((pte & (PTE_ANON | PTE_WRITE)) == (PTE_ANON | PTE_WRITE))
            cr_assert(memfile_exclusive(mf, pte & PTE_FRAME), "%lx: a shared page is writable", (unsigned long)p->addr);
    }
}

static void check_tree(struct mm *mm)
{
    uint64_t end = 0, total = 0;
    unsigned int n = 0;

    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        cr_assert_lt(v->start, v->end);
        cr_assert_geq(v->start, end);
        end = v->end;
        total += vma_len(v);
        n++;
    }
    cr_assert_eq(n, mm->nr_vmas);
    cr_assert_eq(total, mm->total_vm);
}

static unsigned int nr_vmas_in(struct mm *mm, uint64_t start, uint64_t end)
{
    unsigned int n = 0;

    for (struct vma *v = vma_find(mm, start); v && v->start < end; v = vma_next(v))
        n++;
    return n;
}

static int peek(struct mm *mm, uint64_t addr, uint64_t *val)
{
    return mm_copy_in(mm, val, guest_addr_of(addr), sizeof(*val));
}

static int poke(struct mm *mm, uint64_t addr, uint64_t val)
{
    return mm_copy_out(mm, guest_addr_of(addr), &val, sizeof(val));
}

TestSuite(mm, .init = setup, .fini = teardown);

Test(mm, untouched_mappings_cost_the_platform_nothing)
{
    struct mm *mm = new_mm();
    unsigned int before = mm_platform_as(mm)->nr_calls;
    int64_t a = map_anon(mm, 0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    cr_assert_gt(a, 0);
    cr_assert_eq(mm_munmap(mm, (uint64_t)a, 64 * PAGE), 0);
    cr_assert_eq(mm_platform_as(mm)->nr_calls, before);
    mm_put(mm);
}

Test(mm, one_page_takes_two_platform_calls)
{
    struct mm *mm = new_mm();
    unsigned int before = mm_platform_as(mm)->nr_calls;
    int64_t a = map_anon(mm, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    int code;

    cr_assert_eq(mm_fault(mm, (uint64_t)a, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_OK);
    cr_assert_eq(mm_munmap(mm, (uint64_t)a, PAGE), 0);
    cr_assert_eq(mm_platform_as(mm)->nr_calls, before + 2);
    mm_put(mm);
}

Test(mm, memory_that_is_unmapped_later_is_kept_until_it_surely_is)
{
    struct mm *mm = new_mm();
    unsigned int before = mm_platform_as(mm)->nr_calls;
    uint64_t a = (uint64_t)map_anon(mm, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), off;
    int code;

    can_unmap_later = true;
    cr_assert_eq(mm_fault(mm, a, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_OK);
    off = fake_find(mm_platform_as(mm), a)->off;
    cr_assert_eq(mm_munmap(mm, a, PAGE), 0);
    cr_assert_eq(mm_platform_as(mm)->nr_calls, before + 1);
    cr_assert_eq(memfile_used(mf), PAGE);
    cr_assert_eq(mm_fault(mm, a, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_SEGV);

    a = (uint64_t)map_anon(mm, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    fail_next_apply = EIO;
    cr_assert_eq(mm_fault(mm, a, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_BUS);
    cr_assert_eq(memfile_used(mf), PAGE);
    cr_assert_eq(mm_fault(mm, a, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_OK);
    cr_assert_neq(fake_find(mm_platform_as(mm), a)->off, off);
    cr_assert_eq(memfile_used(mf), PAGE);
    mm_put(mm);
}

Test(mm, a_sequential_walk_faults_rarely)
{
    struct mm *mm = new_mm();
    uint64_t len = 256 << 20, faults = 0;
    uint64_t a = (uint64_t)map_anon(mm, 0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    int code;

    for (uint64_t at = a; at < a + len; at += PAGE)
        if (!(ptab_get(&mm->pt, at) & PTE_WRITE)) {
            cr_assert_eq(mm_fault(mm, at, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_OK);
            faults++;
        }
    cr_assert_lt(faults, 200, "%lu faults", (unsigned long)faults);
    mm_put(mm);
}

Test(mm, neighbours_merge_and_split)
{
    struct mm *mm = new_mm();

    for (unsigned int i = 0; i < 8; i++)
        cr_assert_eq(map_anon(mm, ARENA + i * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED), ARENA + i * PAGE);
    cr_assert_eq(nr_vmas_in(mm, ARENA, ARENA + 8 * PAGE), 1);
    cr_assert_eq(mm_mprotect(mm, &no_limits, ARENA + 2 * PAGE, 2 * PAGE, PROT_NONE), 0);
    cr_assert_eq(nr_vmas_in(mm, ARENA, ARENA + 8 * PAGE), 3);
    cr_assert_eq(mm_mprotect(mm, &no_limits, ARENA + 2 * PAGE, 2 * PAGE, PROT_READ), 0);
    cr_assert_eq(nr_vmas_in(mm, ARENA, ARENA + 8 * PAGE), 1);
    check_tree(mm);
    mm_put(mm);
}

Test(mm, gaps_are_found_from_the_top)
{
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, 4 * PAGE, PROT_READ, MAP_PRIVATE);
    uint64_t b = (uint64_t)map_anon(mm, 0, 4 * PAGE, PROT_NONE, MAP_PRIVATE);

    cr_assert_eq(a + 4 * PAGE, mm->mmap_base);
    cr_assert_eq(b + 4 * PAGE, a);
    cr_assert_eq(mm_munmap(mm, a + PAGE, 2 * PAGE), 0);
    cr_assert_eq(map_anon(mm, 0, 2 * PAGE, PROT_READ, MAP_PRIVATE), a + PAGE);
    cr_assert_eq(map_anon(mm, 0, 3 * PAGE, PROT_READ, MAP_PRIVATE), b - 3 * PAGE);
    mm_put(mm);
}

Test(mm, a_host_out_of_mappings_is_survived)
{
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), val;
    int code;

    cr_assert_eq(poke(mm, a, 42), 0);
    fail_next_apply = ENOMEM;
    cr_assert_eq(mm_fault(mm, a + 32 * PAGE, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_OK);
    check_agreement(mm);
    cr_assert_eq(peek(mm, a, &val), 0);
    cr_assert_eq(val, 42);
    fail_next_apply = ENOMEM;
    cr_assert_eq(mm_munmap(mm, a, PAGE), 0);
    check_agreement(mm);
    mm_put(mm);
}

/* The model: what each page of the arena should hold. */
struct model {
    bool mapped[ARENA_PAGES];
    int prot[ARENA_PAGES];
    uint64_t value[ARENA_PAGES];
};

static void model_check(struct mm *mm, const struct model *m)
{
    for (unsigned int i = 0; i < ARENA_PAGES; i++) {
        uint64_t val = 0;
        int r = peek(mm, ARENA + i * PAGE, &val);
        if (!m->mapped[i] || m->prot[i] == PROT_NONE) {
            cr_assert_eq(r, -EFAULT, "page %u is readable", i);
            continue;
        }
        cr_assert_eq(r, 0, "page %u is not readable", i);
        cr_assert_eq(val, m->value[i], "page %u holds %lu, want %lu", i, (unsigned long)val, (unsigned long)m->value[i]);
    }
}

static const int prots[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};

static void random_step(struct mm *mm, struct model *m, unsigned int *seed)
{
    unsigned int first = (unsigned int)rand_r(seed) % ARENA_PAGES, n = 1 + (unsigned int)rand_r(seed) % 24, code;
    unsigned int to = (unsigned int)rand_r(seed) % ARENA_PAGES;
    int prot = prots[(unsigned int)rand_r(seed) % ARRAY_SIZE(prots)];
    bool all_mapped = true;
    uint64_t val;

    if (first + n > ARENA_PAGES)
        n = ARENA_PAGES - first;
    for (unsigned int i = first; i < first + n; i++)
        all_mapped = all_mapped && m->mapped[i];
    switch ((unsigned int)rand_r(seed) % 8) {
    case 0: /* mmap */
        cr_assert_eq(map_anon(mm, ARENA + first * PAGE, n * PAGE, prot, MAP_PRIVATE | MAP_FIXED), ARENA + first * PAGE);
        for (unsigned int i = first; i < first + n; i++) {
            m->mapped[i] = true;
            m->prot[i] = prot;
            m->value[i] = 0;
        }
        break;
    case 1: /* munmap */
        cr_assert_eq(mm_munmap(mm, ARENA + first * PAGE, n * PAGE), 0);
        for (unsigned int i = first; i < first + n; i++)
            m->mapped[i] = false;
        break;
    case 2: /* mprotect, up to the first hole */
        cr_assert_eq(mm_mprotect(mm, &no_limits, ARENA + first * PAGE, n * PAGE, prot), all_mapped ? 0 : -ENOMEM);
        for (unsigned int i = first; i < first + n && m->mapped[i]; i++)
            m->prot[i] = prot;
        break;
    case 3: /* MADV_DONTNEED */
        cr_assert_eq(mm_madvise(mm, ARENA + first * PAGE, n * PAGE, MADV_DONTNEED), all_mapped ? 0 : -ENOMEM);
        for (unsigned int i = first; i < first + n; i++)
            if (m->mapped[i])
                m->value[i] = 0;
        break;
    case 4: /* mremap to somewhere else */
        if (to + n > ARENA_PAGES || !all_mapped || (to < first + n && first < to + n) ||
            vma_at(mm, ARENA + first * PAGE)->end < ARENA + (first + n) * PAGE)
            break;
        cr_assert_eq(mm_mremap(mm, &no_limits, ARENA + first * PAGE, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
                               ARENA + to * PAGE),
                     ARENA + to * PAGE);
        for (unsigned int i = 0; i < n; i++) {
            m->mapped[to + i] = true;
            m->prot[to + i] = m->prot[first + i];
            m->value[to + i] = m->value[first + i];
            m->mapped[first + i] = false;
        }
        break;
    default: /* a write */
        val = (uint64_t)rand_r(seed);
        if (m->mapped[first] && (m->prot[first] & PROT_WRITE)) {
            if (val & 1)
                cr_assert_eq(mm_fault(mm, ARENA + first * PAGE, PLATFORM_WRITE, &no_limits, (int *)&code), MM_FAULT_OK);
            cr_assert_eq(poke(mm, ARENA + first * PAGE, val), 0);
            m->value[first] = val;
        } else {
            cr_assert_eq(poke(mm, ARENA + first * PAGE, val), -EFAULT);
        }
    }
}

Test(mm, random_operations_agree_with_the_model, .timeout = 60)
{
    for (unsigned int round = 1; round <= 12; round++) {
        struct mm *mm[3] = {new_mm(), NULL, NULL};
        struct model m[3] = {0};
        unsigned int seed = round;

        for (unsigned int i = 0; i < 600; i++) {
            unsigned int who = (unsigned int)rand_r(&seed) % 3;
            if (!mm[who]) {
                cr_assert_eq(mm_fork(mm[0], &mm[who]), 0);
                m[who] = m[0];
            } else if (who > 0 && rand_r(&seed) % 16 == 0) {
                mm_put(mm[who]);
                mm[who] = NULL;
                continue;
            }
            if (rand_r(&seed) % 64 == 0)
                fail_next_apply = ENOMEM;
            random_step(mm[who], &m[who], &seed);
            fail_next_apply = 0;
            if (i % 8 == 0)
                for (unsigned int j = 0; j < 3; j++)
                    if (mm[j]) {
                        check_agreement(mm[j]);
                        check_tree(mm[j]);
                        model_check(mm[j], &m[j]);
                        check_agreement(mm[j]);
                    }
        }
        for (unsigned int j = 0; j < 3; j++)
            if (mm[j])
                mm_put(mm[j]);
    }
}

Test(mm, fork_shares_pages_until_a_write)
{
    struct mm *mm = new_mm(), *child;
    uint64_t a = (uint64_t)map_anon(mm, 0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE), val;

    cr_assert_eq(poke(mm, a, 1), 0);
    uint64_t used = memfile_used(mf);
    cr_assert_eq(mm_fork(mm, &child), 0);
    cr_assert_eq(memfile_used(mf), used);
    check_agreement(mm);
    check_agreement(child);
    cr_assert_eq(poke(child, a, 2), 0);
    cr_assert_eq(memfile_used(mf), used + PAGE);
    cr_assert_eq(peek(mm, a, &val), 0);
    cr_assert_eq(val, 1);
    mm_put(child);
    cr_assert_eq(poke(mm, a, 3), 0);
    cr_assert_eq(memfile_used(mf), used);
    check_agreement(mm);
    mm_put(mm);
}

Test(mm, shared_anonymous_memory_is_seen_by_the_child)
{
    struct mm *mm = new_mm(), *child;
    uint64_t a = (uint64_t)map_anon(mm, 0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), val;

    cr_assert_eq(mm_fork(mm, &child), 0);
    cr_assert_eq(poke(child, a + PAGE, 7), 0);
    cr_assert_eq(peek(mm, a + PAGE, &val), 0);
    cr_assert_eq(val, 7);
    mm_put(child);
    mm_put(mm);
}

/* A host file, as hostfs would offer it. */
static int host_fd;

static int host_map_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    uint64_t size = page_up((uint64_t)atomic_load(&f->inode->size));

    if (off >= size)
        return -ENXIO;
    *out = (struct mmap_extent){.fd = host_fd, .offset = off, .len = len < size - off ? len : size - off};
    return 0;
}

static const struct file_ops host_ops = {.map_extent = host_map_extent};

static void host_file(struct file *f, struct inode *inode, unsigned int pages)
{
    memset(f, 0, sizeof(*f));
    memset(inode, 0, sizeof(*inode));
    host_fd = memfd_create("host", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(host_fd, (off_t)(pages * PAGE)), 0);
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t val = 1000 + i;
        cr_assert_eq(pwrite(host_fd, &val, sizeof(val), (off_t)(i * PAGE)), (ssize_t)sizeof(val));
    }
    inode->mode = S_IFREG | 0644;
    mutex_init(&inode->aux_lock);
    list_init(&inode->mappings);
    atomic_init(&inode->size, (long long)(pages * PAGE));
    ref_init(&inode->ref);
    ref_init(&f->ref);
    f->ops = &host_ops;
    f->inode = inode;
    f->mode = FMODE_READ | FMODE_WRITE;
}

Test(mm, private_file_mappings_are_copied_when_written)
{
    struct mm *mm = new_mm();
    struct inode inode;
    struct file f;
    uint64_t a, val;

    host_file(&f, &inode, 32);
    a = (uint64_t)mm_mmap(mm, &no_limits, 0, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, &f, 0);
    cr_assert_eq(peek(mm, a + 5 * PAGE, &val), 0);
    cr_assert_eq(val, 1005);
    cr_assert_eq(poke(mm, a + 5 * PAGE, 1), 0);
    cr_assert_eq(peek(mm, a + 5 * PAGE, &val), 0);
    cr_assert_eq(val, 1);
    cr_assert_eq(pread(host_fd, &val, sizeof(val), 5 * PAGE), (ssize_t)sizeof(val));
    cr_assert_eq(val, 1005);
    check_agreement(mm);
    mm_put(mm);
    cr_assert_eq(ref_read(&f.ref), 1);
    close(host_fd);
}

Test(mm, shared_file_mappings_write_through)
{
    struct mm *mm = new_mm();
    struct inode inode;
    struct file f;
    uint64_t a, val;

    host_file(&f, &inode, 32);
    a = (uint64_t)mm_mmap(mm, &no_limits, 0, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, &f, 0);
    cr_assert_eq(poke(mm, a + 5 * PAGE, 1), 0);
    cr_assert_eq(pread(host_fd, &val, sizeof(val), 5 * PAGE), (ssize_t)sizeof(val));
    cr_assert_eq(val, 1);
    cr_assert_eq(memfile_used(mf), 0);
    mm_put(mm);
    close(host_fd);
}

Test(mm, truncation_takes_pages_away)
{
    struct mm *mm = new_mm();
    struct inode inode;
    struct file f;
    uint64_t a, val;
    int code;

    host_file(&f, &inode, 8);
    a = (uint64_t)mm_mmap(mm, &no_limits, 0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, &f, 0);
    cr_assert_eq(mm_fault(mm, a + 8 * PAGE, PLATFORM_READ, &no_limits, &code), MM_FAULT_BUS);
    cr_assert_eq(poke(mm, a + PAGE, 1), 0);
    cr_assert_eq(poke(mm, a + 6 * PAGE, 1), 0);
    cr_assert_eq(ftruncate(host_fd, 4 * PAGE), 0);
    atomic_store(&inode.size, 4 * PAGE);
    inode_mapping_invalidate(&inode, 4 * PAGE, UINT64_MAX - 4 * PAGE);
    check_agreement(mm);
    cr_assert_eq(peek(mm, a + PAGE, &val), 0);
    cr_assert_eq(val, 1);
    cr_assert_eq(peek(mm, a + 6 * PAGE, &val), -EFAULT);
    cr_assert_eq(mm_fault(mm, a + 6 * PAGE, PLATFORM_READ, &no_limits, &code), MM_FAULT_BUS);
    mm_put(mm);
    close(host_fd);
}

Test(mm, a_file_cut_behind_our_back_is_a_bus_error)
{
    struct mm *mm = new_mm();
    struct inode inode;
    struct file f;
    uint64_t a, val;
    int code;

    host_file(&f, &inode, 8);
    a = (uint64_t)mm_mmap(mm, &no_limits, 0, 8 * PAGE, PROT_READ, MAP_PRIVATE, &f, 0);
    cr_assert_eq(peek(mm, a + 6 * PAGE, &val), 0);
    cr_assert_eq(ftruncate(host_fd, 4 * PAGE), 0);
    cr_assert_eq(peek(mm, a + 6 * PAGE, &val), -EFAULT);
    cr_assert_eq(mm_fault(mm, a + 6 * PAGE, PLATFORM_READ, &no_limits, &code), MM_FAULT_BUS);
    mm_put(mm);
    close(host_fd);
}

Test(mm, text_is_patched_on_a_private_copy)
{
    struct mm *mm = new_mm();
    struct inode inode;
    struct file f;
    uint64_t a, val, host;
    uint8_t old[3], new[3] = {1, 2, 3};

    host_file(&f, &inode, 8);
    a = (uint64_t)mm_mmap(mm, &no_limits, 0, 8 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, &f, 0);
    cr_assert_eq(mm_text_ops.read(mm, a + 61, old, 3), 0);
    cr_assert_eq(mm_text_ops.patch(mm, a + 61, old, new, 3), 0);
    cr_assert_eq(mm_text_ops.patch(mm, a + 61, old, new, 3), -EAGAIN);
    cr_assert_eq(mm_text_ops.patch(mm, a + 62, old, new, 3), -EINVAL);
    cr_assert_eq(mm_copy_in(mm, &val, guest_addr_of(a + 60), 8), 0);
    cr_assert_eq(val, 0x03020100);
    cr_assert_eq(pread(host_fd, &host, 8, 60), 8);
    cr_assert_eq(host, 0);
    check_agreement(mm);
    mm_put(mm);
    close(host_fd);
}

Test(mm, forced_writes_leave_the_protection)
{
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, PAGE, PROT_NONE, MAP_PRIVATE), val = 5;

    cr_assert_eq(mm_copy_out(mm, guest_addr_of(a), &val, 8), -EFAULT);
    cr_assert_eq(mm_copy_out_force(mm, guest_addr_of(a), &val, 8), 0);
    val = 0;
    cr_assert_eq(mm_copy_in_force(mm, &val, guest_addr_of(a), 8), 0);
    cr_assert_eq(val, 5);
    check_agreement(mm);
    mm_put(mm);
}

Test(mm, stacks_grow_and_keep_their_distance)
{
    struct mm *mm = new_mm();
    uint64_t top = ARENA + (1 << 20);
    int code;

    cr_assert_eq(mm_map_stack(mm, &no_limits, top, 2 * PAGE, false), 0);
    cr_assert_eq(mm_fault(mm, top - 10 * PAGE, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_OK);
    cr_assert_eq(mm_fault(mm, top - (9 << 20), PLATFORM_WRITE, &no_limits, &code), MM_FAULT_SEGV);
    cr_assert_eq(code, 1); /* SEGV_MAPERR */
    cr_assert_eq(map_anon(mm, top - 512 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED), top - 512 * PAGE);
    cr_assert_eq(mm_fault(mm, top - 400 * PAGE, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_SEGV);
    cr_assert_eq(mm_fault(mm, top - 200 * PAGE, PLATFORM_WRITE, &no_limits, &code), MM_FAULT_OK);
    check_tree(mm);
    mm_put(mm);
}

static ssize_t fill_iovec(void *arg, const struct iovec *iov, int nr)
{
    ssize_t n = 0;

    for (int i = 0; i < nr; i++) {
        memset(iov[i].iov_base, *(int *)arg, iov[i].iov_len);
        n += (ssize_t)iov[i].iov_len;
    }
    return n;
}

Test(mm, a_uio_reaches_memory_in_place)
{
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    struct iovec iov;
    struct uio uio;
    uint8_t byte;
    int what = 0x5a;

    cr_assert_eq(mm_uio_init_one(&uio, mm, &iov, guest_addr_of(a + 100), 20 * PAGE), 0);
    while (uio.resid > 0)
        cr_assert_gt(uio_with_iovec(&uio, true, uio.resid, fill_iovec, &what), 0);
    cr_assert_eq(mm_copy_in(mm, &byte, guest_addr_of(a + 100 + 20 * PAGE - 1), 1), 0);
    cr_assert_eq(byte, 0x5a);
    cr_assert_eq(mm_copy_in(mm, &byte, guest_addr_of(a + 100 + 20 * PAGE), 1), 0);
    cr_assert_eq(byte, 0);
    cr_assert_eq(mm_uio_init_one(&uio, mm, &iov, guest_addr_of(a + 63 * PAGE), 2 * PAGE), 0);
    cr_assert_eq(uio_with_iovec(&uio, true, uio.resid, fill_iovec, &what), PAGE);
    cr_assert_eq(uio_with_iovec(&uio, true, uio.resid, fill_iovec, &what), -EFAULT);
    mm_put(mm);
}

Test(mm, strings_end_at_their_nul)
{
    struct mm *mm = new_mm();
    uint64_t a = (uint64_t)map_anon(mm, 0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    char buf[64];

    cr_assert_eq(mm_copy_out(mm, guest_addr_of(a + PAGE - 6), "hello", 6), 0);
    cr_assert_eq(mm_copy_str_in(mm, buf, guest_addr_of(a + PAGE - 6), sizeof(buf)), 5);
    cr_assert_str_eq(buf, "hello");
    cr_assert_eq(mm_copy_str_in(mm, buf, guest_addr_of(a + PAGE - 6), 3), -ENAMETOOLONG);
    cr_assert_eq(mm_copy_out(mm, guest_addr_of(a + PAGE - 1), "x", 1), 0);
    cr_assert_eq(mm_copy_str_in(mm, buf, guest_addr_of(a + PAGE - 6), sizeof(buf)), -EFAULT);
    mm_put(mm);
}
