/* membarrier(2): registrations, and that the barrier orders what asymmetric algorithms need ordered. */
#include "tests/guest/guest_test.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static long membarrier(int cmd, unsigned int flags)
{
    return syscall(SYS_membarrier, cmd, flags, 0);
}

TEST(membarrier_query_and_errors)
{
    long supported = membarrier(MEMBARRIER_CMD_QUERY, 0);

    CHECK(supported > 0 && supported & MEMBARRIER_CMD_GLOBAL);
    CHECK(supported & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    CHECK_ERR(membarrier(MEMBARRIER_CMD_QUERY, 1 << 5), EINVAL);
    CHECK_ERR(membarrier(1 << 20, 0), EINVAL);
    CHECK_ERR(membarrier(3, 0), EINVAL);
}

TEST(membarrier_needs_registration)
{
    CHECK_ERR(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0), EPERM);
    CHECK_OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0));
    CHECK_OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0));
    CHECK_ERR(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0), EPERM);
    CHECK_OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0));
    CHECK_OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0));
    CHECK_OK(membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0));
    CHECK_OK(membarrier(MEMBARRIER_CMD_GLOBAL, 0));
}

/* Dekker's algorithm with the fence of the fast side replaced by the compiler's only. */
static volatile int fast_flag, slow_flag, stop;
static volatile long both, turns;

static void *fast_side(void *arg)
{
    while (!stop) {
        fast_flag = 1;
        atomic_signal_fence(memory_order_seq_cst);
        if (!slow_flag) {
            turns++;
            if (slow_flag == 2)
                both++;
        }
        atomic_signal_fence(memory_order_seq_cst);
        fast_flag = 0;
    }
    return NULL;
}

TEST(membarrier_orders_the_other_side)
{
    pthread_t t;

    CHECK_OK(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0));
    pthread_create(&t, NULL, fast_side, NULL);
    for (int i = 0; i < 300; i++) {
        slow_flag = 1;
        CHECK_OK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0));
        if (!fast_flag)
            slow_flag = 2;
        slow_flag = 0;
    }
    stop = 1;
    pthread_join(t, NULL);
    CHECK_EQ(both, 0);
}

TEST_MAIN()
