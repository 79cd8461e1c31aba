/* The memory file: what is freed is given out again as asked for, and what was in it never shows. */
#include "lib/memfile.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct memfile *mf;

static void setup(void)
{
    cr_assert_eq(memfile_create(1ULL << 30, &mf), 0);
}

static void teardown(void)
{
    cr_expect_eq(memfile_used(mf), 0);
    memfile_destroy(mf);
}

TestSuite(memfile, .init = setup, .fini = teardown);

static uint64_t alloc(uint64_t pages, enum memfile_flags flags)
{
    uint64_t off;

    cr_assert_eq(memfile_alloc(mf, pages * MEMFILE_PAGE, flags, &off), 0);
    return off;
}

static bool is_zero(uint64_t off, uint64_t len)
{
    const unsigned char *p = memfile_ptr(mf, off);

    for (uint64_t i = 0; i < len; i++)
        if (p[i])
            return false;
    return true;
}

static uint64_t bytes_allocated(void)
{
    struct stat st;

    cr_assert_eq(fstat(memfile_fd(mf), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

Test(memfile, a_run_that_was_partly_written_comes_back_zero)
{
    for (uint64_t pages = 1; pages <= 40; pages++) {
        uint64_t off = alloc(pages, MEMFILE_ZERO);

        for (uint64_t i = 0; i < pages; i += 3)
            memset((char *)memfile_ptr(mf, off) + i * MEMFILE_PAGE, 0xa5, MEMFILE_PAGE);
        memfile_put(mf, off, pages * MEMFILE_PAGE);
        off = alloc(pages, MEMFILE_ZERO);
        cr_assert(is_zero(off, pages * MEMFILE_PAGE), "%lu pages", (unsigned long)pages);
        memfile_put(mf, off, pages * MEMFILE_PAGE);
    }
}

Test(memfile, pages_of_written_runs_come_back_zero_one_by_one)
{
    uint64_t off = alloc(16, MEMFILE_OVERWRITE), page[32];

    memset(memfile_ptr(mf, off), 0xa5, 16 * MEMFILE_PAGE);
    memfile_put(mf, off, 16 * MEMFILE_PAGE);
    for (int i = 0; i < 32; i++) {
        page[i] = alloc(1, MEMFILE_ZERO);
        cr_assert(is_zero(page[i], MEMFILE_PAGE));
        memset(memfile_ptr(mf, page[i]), 0x5a, MEMFILE_PAGE);
    }
    for (int i = 0; i < 32; i++)
        memfile_put(mf, page[i], MEMFILE_PAGE);
}

/* Random allocations, each filled with a pattern of its own that nobody else may write over. */
Test(memfile, allocations_do_not_overlap)
{
    struct {
        uint64_t off, pages;
        unsigned char fill;
    } held[200] = {{0}};

    srandom(7);
    for (int i = 0; i < 20000; i++) {
        int k = (int)(random() % 200);
        unsigned char *p = memfile_ptr(mf, held[k].off);

        if (held[k].pages) {
            for (uint64_t a = 0; a < held[k].pages * MEMFILE_PAGE; a += 512)
                cr_assert_eq(p[a], held[k].fill);
            memfile_put(mf, held[k].off, held[k].pages * MEMFILE_PAGE);
            held[k].pages = 0;
            continue;
        }
        held[k].pages = (uint64_t)(random() % 20) + 1;
        held[k].fill = (unsigned char)i;
        held[k].off = alloc(held[k].pages, i % 2 ? MEMFILE_ZERO : MEMFILE_OVERWRITE);
        if (i % 2)
            cr_assert(is_zero(held[k].off, held[k].pages * MEMFILE_PAGE));
        memset(memfile_ptr(mf, held[k].off), held[k].fill, held[k].pages * MEMFILE_PAGE);
    }
    for (int k = 0; k < 200; k++)
        if (held[k].pages)
            memfile_put(mf, held[k].off, held[k].pages * MEMFILE_PAGE);
}

Test(memfile, freed_memory_goes_back_to_the_host)
{
    uint64_t off[512];

    for (int i = 0; i < 512; i++) {
        off[i] = alloc(1 + (uint64_t)i % 40, MEMFILE_OVERWRITE);
        memset(memfile_ptr(mf, off[i]), 1, (1 + (uint64_t)i % 40) * MEMFILE_PAGE);
    }
    for (int i = 0; i < 512; i++)
        memfile_put(mf, off[i], (1 + (uint64_t)i % 40) * MEMFILE_PAGE);
    cr_assert_leq(bytes_allocated(), 8ULL << 20);
    memfile_trim(mf);
    cr_assert_eq(bytes_allocated(), 0);
}

/* Partly given back, given out again, and given back at last. */
static void use_backed_memory(void)
{
    uint64_t pages = 1024, off = alloc(pages, MEMFILE_ZERO), again;

    memfile_back(mf, off, pages * MEMFILE_PAGE);
    cr_assert(is_zero(off, pages * MEMFILE_PAGE));
    cr_assert_eq(bytes_allocated(), pages * MEMFILE_PAGE);
    memset(memfile_ptr(mf, off), 0xa5, pages * MEMFILE_PAGE);
    memfile_put(mf, off + 100 * MEMFILE_PAGE, 600 * MEMFILE_PAGE);
    again = alloc(600, MEMFILE_ZERO);
    cr_assert(is_zero(again, 600 * MEMFILE_PAGE));
    cr_assert_eq(*(unsigned char *)memfile_ptr(mf, off + 99 * MEMFILE_PAGE), 0xa5);
    cr_assert_eq(*(unsigned char *)memfile_ptr(mf, off + 700 * MEMFILE_PAGE), 0xa5);
    memfile_put(mf, again, 600 * MEMFILE_PAGE);
    memfile_put(mf, off, 100 * MEMFILE_PAGE);
    memfile_put(mf, off + 700 * MEMFILE_PAGE, 324 * MEMFILE_PAGE);
    memfile_trim(mf);
    cr_assert_eq(bytes_allocated(), 0);
}

Test(memfile, backed_memory_is_like_other_memory)
{
    use_backed_memory();
}

Test(memfile, backed_memory_of_a_tmpfs_file_is_like_other_memory)
{
    int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        cr_skip_test("no tmpfs at /dev/shm");
    memfile_destroy(mf);
    cr_assert_eq(memfile_create_in(fd, 1ULL << 30, &mf), 0);
    use_backed_memory();
}
