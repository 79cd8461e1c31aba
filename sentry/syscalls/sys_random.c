/* getrandom(2): straight from the host's generator, which is long seeded. */
#include "sentry/syscalls/syscalls.h"

#include <limits.h>
#include <sys/random.h>

#ifndef GRND_INSECURE
#define GRND_INSECURE 4
#endif

int64_t sys_getrandom(struct task *t, const struct syscall_args *a)
{
    unsigned int flags = arg_uint(a, 2);
    size_t len = arg_size(a, 1) > INT_MAX ? INT_MAX : arg_size(a, 1), done = 0;
    char buf[4096];

    if (flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) ||
        (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE))
        return -EINVAL;
    while (done < len) {
        ssize_t n = getrandom(buf, len - done < sizeof(buf) ? len - done : sizeof(buf), 0);

        if (n < 0)
            return done ? (int64_t)done : -errno;
        if (copy_out(t, guest_add(arg_addr(a, 0), done), buf, (size_t)n))
            return done ? (int64_t)done : -EFAULT;
        done += (size_t)n;
        /* A long one may be cut short by a signal, after it has done something. */
        if (done < len && signal_pending(t))
            break;
    }
    return (int64_t)done;
}
