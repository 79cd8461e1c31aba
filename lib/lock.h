/*
 * Locks, as thin inline wrappers over pthread so that clang's thread-safety analysis can see them.
 * None of them is recursive. Unlocking a lock that the caller does not hold is undefined.
 */
#ifndef LIB_LOCK_H
#define LIB_LOCK_H

#include "lib/compiler.h"

#include <pthread.h>
#include <stdbool.h>

struct CAPABILITY("mutex") mutex {
    pthread_mutex_t m;
};

#define MUTEX_INIT                \
    {                             \
        PTHREAD_MUTEX_INITIALIZER \
    }

static inline void mutex_init(struct mutex *mu)
{
    pthread_mutex_init(&mu->m, NULL);
}

static inline void mutex_fini(struct mutex *mu)
{
    pthread_mutex_destroy(&mu->m);
}

static inline void mutex_lock(struct mutex *mu) ACQUIRE(mu) NO_THREAD_SAFETY_ANALYSIS
{
    pthread_mutex_lock(&mu->m);
}

static inline bool mutex_trylock(struct mutex *mu) TRY_ACQUIRE(true, mu) NO_THREAD_SAFETY_ANALYSIS
{
    return pthread_mutex_trylock(&mu->m) == 0;
}

static inline void mutex_unlock(struct mutex *mu) RELEASE(mu) NO_THREAD_SAFETY_ANALYSIS
{
    pthread_mutex_unlock(&mu->m);
}

struct CAPABILITY("rwlock") rwlock {
    pthread_rwlock_t rw;
};

static inline void rwlock_init(struct rwlock *l)
{
    pthread_rwlock_init(&l->rw, NULL);
}

static inline void rwlock_fini(struct rwlock *l)
{
    pthread_rwlock_destroy(&l->rw);
}

static inline void rwlock_rdlock(struct rwlock *l) ACQUIRE_SHARED(l) NO_THREAD_SAFETY_ANALYSIS
{
    pthread_rwlock_rdlock(&l->rw);
}

static inline void rwlock_wrlock(struct rwlock *l) ACQUIRE(l) NO_THREAD_SAFETY_ANALYSIS
{
    pthread_rwlock_wrlock(&l->rw);
}

static inline void rwlock_rdunlock(struct rwlock *l) RELEASE_SHARED(l) NO_THREAD_SAFETY_ANALYSIS
{
    pthread_rwlock_unlock(&l->rw);
}

static inline void rwlock_wrunlock(struct rwlock *l) RELEASE(l) NO_THREAD_SAFETY_ANALYSIS
{
    pthread_rwlock_unlock(&l->rw);
}

#endif
