#include "lib/crash.h"

#include "lib/log.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* How much of the stack is looked at: in words, of those in a page at most, so that the look itself does not fault. */
#define WORDS_MAX 512
#define CALLS_MAX 12

extern const char __executable_start[], etext[];

static uintptr_t offset_of(uintptr_t addr)
{
    uintptr_t start = (uintptr_t)__executable_start;

    return addr >= start && addr < (uintptr_t)etext ? addr - start : 0;
}

/* Without frame pointers: whatever on the stack points into the program's text, which is its calls and some older ones. */
__attribute__((no_sanitize("address"))) void crash_report(int signo, const siginfo_t *info, const void *ucontext)
{
    const greg_t *r = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;
    const uintptr_t *sp = (const uintptr_t *)(r[REG_RSP] & ~7LL);
    char text[512];
    size_t n;
    int calls = 0;

    n = (size_t)snprintf(text, sizeof(text), "runsc-c: the sentry has crashed: signal %d, address %p, at %#lx (%p), from",
                         signo, info->si_addr, (unsigned long)offset_of((uintptr_t)r[REG_RIP]), (void *)r[REG_RIP]);
    for (int i = 0; i < WORDS_MAX && calls < CALLS_MAX; i++, sp++) {
        if (i > 0 && ((uintptr_t)sp & 4095) == 0 && i > 64)
            break;
        if (offset_of(*sp)) {
            n += (size_t)snprintf(text + n, sizeof(text) - n, " %#lx", (unsigned long)offset_of(*sp));
            calls++;
        }
    }
    text[n++] = '\n';
    log_warn("%.*s", (int)n - 1, text);
    if (write(STDERR_FILENO, text, n) < 0)
        return;
}
