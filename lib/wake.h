/*
 * Waking host threads, later if need be.
 *
 * A thread that is woken on the waker's CPU often runs at once. If the waker holds a lock then that the other takes next, that
 * costs two switches for nothing. So whoever wakes others under a lock holds the wake-ups until it has released it.
 */
#ifndef LIB_WAKE_H
#define LIB_WAKE_H

#include <stdatomic.h>

/* Puts off what this thread's wake_word() does until the outermost wake_release(). They nest. */
void wake_hold(void);
void wake_release(void);
/*
 * Wakes one thread of this process that sleeps on `word` by futex(2). The word may be gone when that happens: those who sleep
 * on whatever is there then must bear with spurious wake-ups, as all do.
 */
void wake_word(atomic_uint *word);

#endif
