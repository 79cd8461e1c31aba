/* Compiler attributes and small macros that every file may use. */
#ifndef LIB_COMPILER_H
#define LIB_COMPILER_H

#include <stddef.h>

#define must_check             __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define likely(x)              __builtin_expect(!!(x), 1)
#define unlikely(x)            __builtin_expect(!!(x), 0)
#define cleanup(fn)            __attribute__((cleanup(fn)))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))

/* What is between them touches memory of the guest, whose own races are no news to ThreadSanitizer. */
#if defined(__SANITIZE_THREAD__)
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define guest_memory_begin() (AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define guest_memory_end()   (AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__))
#else
#define guest_memory_begin() ((void)0)
#define guest_memory_end()   ((void)0)
#endif

/* Clang's thread-safety attributes; no-ops under gcc. `./dev lint` checks them. */
#if defined(__clang__)
#define THREAD_ATTR(x) __attribute__((x))
#else
#define THREAD_ATTR(x)
#endif
#define CAPABILITY(name) THREAD_ATTR(capability(name))
/* In C, clang (before 20) cannot resolve a field's name in its struct's own attributes: these two are documentation. */
#define GUARDED_BY(x)
#define PT_GUARDED_BY(x)
#define REQUIRES(...)             THREAD_ATTR(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...)      THREAD_ATTR(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...)              THREAD_ATTR(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...)       THREAD_ATTR(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...)              THREAD_ATTR(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...)       THREAD_ATTR(release_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...)          THREAD_ATTR(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...)             THREAD_ATTR(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS THREAD_ATTR(no_thread_safety_analysis)

#endif
