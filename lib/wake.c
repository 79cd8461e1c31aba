#include "lib/wake.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HELD_MAX 16 /* more are woken at once */

static _Thread_local struct {
    unsigned int depth, n;
    atomic_uint *word[HELD_MAX];
} held;

static void wake_now(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

void wake_hold(void)
{
    held.depth++;
}

void wake_release(void)
{
    if (--held.depth > 0)
        return;
    for (unsigned int i = 0; i < held.n; i++)
        wake_now(held.word[i]);
    held.n = 0;
}

void wake_word(atomic_uint *word)
{
    if (held.depth > 0 && held.n < HELD_MAX)
        held.word[held.n++] = word;
    else
        wake_now(word);
}
