/* poll, ppoll, select, pselect6. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/poll.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/personality.h>
#include <stdlib.h>
#include <string.h>

#define INLINE_FDS 64
#define MAX_SELECT (1 << 20)

/* What a finished wait leaves in the caller's timeout: the time that remained. */
struct timeout {
    guest_addr at; /* null: none was given, or it is not to be touched */
    bool is_timeval;
    bool zero; /* a poll without waiting: nothing to write */
    int64_t deadline;
};

static void set_deadline(struct timeout *to, int64_t ns)
{
    to->zero = ns == 0;
    to->deadline = ns == 0 ? 0 : time_add_saturating(kernel_monotonic_ns(), ns);
}

/* Linux writes the remaining time back. Where it cannot be written, the call is not restarted. */
static int64_t finish_timeout(struct task *t, const struct timeout *to, int64_t r)
{
    int64_t left;
    bool failed;

    if (guest_is_null(to->at) || to->zero)
        return r;
    if (t->personality & STICKY_TIMEOUTS)
        return r == -ERESTARTNOHAND ? -EINTR : r;
    left = to->deadline - kernel_monotonic_ns();
    left = left < 0 ? 0 : left;
    failed = to->is_timeval ? timeval_out(t, to->at, left) : timespec_out(t, to->at, left);
    return failed && r == -ERESTARTNOHAND ? -EINTR : r;
}

static int get_timespec(struct task *t, guest_addr at, struct timeout *to)
{
    int64_t ns;
    int err;

    *to = (struct timeout){.at = at, .deadline = TASK_NO_DEADLINE};
    if (guest_is_null(at))
        return 0;
    err = timespec_in(t, at, &ns);
    if (!err)
        set_deadline(to, ns);
    return err;
}

/* Microseconds beyond a second are carried over, as only select(2) does. */
static int get_select_timeval(struct task *t, guest_addr at, struct timeout *to)
{
    struct timeval tv;
    struct timespec ts;

    *to = (struct timeout){.at = at, .is_timeval = true, .deadline = TASK_NO_DEADLINE};
    if (guest_is_null(at))
        return 0;
    if (copy_in(t, &tv, at, sizeof(tv)))
        return -EFAULT;
    if (tv.tv_sec < 0 || tv.tv_usec < 0)
        return -EINVAL;
    ts.tv_sec = tv.tv_sec >= KTIME_MAX / NSEC_PER_SEC ? KTIME_MAX / NSEC_PER_SEC : tv.tv_sec + tv.tv_usec / 1000000;
    ts.tv_nsec = tv.tv_usec % 1000000 * 1000;
    set_deadline(to, timespec_to_ns(ts));
    return 0;
}

static int write_revents(struct task *t, guest_addr at, const struct pollfd *fds, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        guest_addr field = guest_add(at, i * sizeof(*fds) + offsetof(struct pollfd, revents));

        if (copy_out(t, field, &fds[i].revents, sizeof(fds[i].revents)))
            return -EFAULT;
    }
    return 0;
}

static int64_t do_poll(struct task *t, guest_addr at, unsigned int n, int64_t deadline)
{
    struct pollfd few[INLINE_FDS], *fds = few;
    int64_t r;

    if (n > task_rlimit(t, RLIMIT_NOFILE))
        return -EINVAL;
    if (n > INLINE_FDS) {
        fds = malloc(n * sizeof(*fds));
        if (!fds)
            return -ENOMEM;
    }
    if (copy_in(t, fds, at, n * sizeof(*fds))) {
        r = -EFAULT;
    } else {
        r = task_poll(t, fds, n, deadline);
        if (r >= 0 && write_revents(t, at, fds, n))
            r = -EFAULT;
    }
    if (fds != few)
        free(fds);
    return r;
}

static int64_t poll_restart(struct task *t, struct restart_block *rb);

static int64_t poll_until(struct task *t, guest_addr at, unsigned int n, int64_t deadline)
{
    int64_t r = do_poll(t, at, n, deadline);

    if (r != -ERESTARTNOHAND)
        return r;
    t->restart.fn = poll_restart;
    t->restart.futex_or_poll.fds = at;
    t->restart.futex_or_poll.nfds = n;
    t->restart.futex_or_poll.deadline = deadline;
    return -ERESTART_RESTARTBLOCK;
}

static int64_t poll_restart(struct task *t, struct restart_block *rb)
{
    return poll_until(t, rb->futex_or_poll.fds, rb->futex_or_poll.nfds, rb->futex_or_poll.deadline);
}

int64_t sys_poll(struct task *t, const struct syscall_args *a)
{
    int ms = arg_int(a, 2);
    int64_t deadline = TASK_NO_DEADLINE;

    if (ms >= 0)
        deadline = ms == 0 ? 0 : kernel_monotonic_ns() + ms * 1000000LL;
    return poll_until(t, arg_addr(a, 0), arg_uint(a, 1), deadline);
}

int64_t sys_ppoll(struct task *t, const struct syscall_args *a)
{
    struct timeout to;
    int64_t r;
    int err = get_timespec(t, arg_addr(a, 2), &to);

    if (!err)
        err = task_sigmask_begin(t, arg_addr(a, 3), a->v[4]);
    if (err)
        return err;
    r = do_poll(t, arg_addr(a, 0), arg_uint(a, 1), to.deadline);
    task_sigmask_end(t, r == -ERESTARTNOHAND);
    return finish_timeout(t, &to, r);
}

/* The three sets of select(2), as words of the guest's, and what they mean in poll's terms. */
enum { SET_IN, SET_OUT, SET_EX, NR_SETS };

static const short set_events[NR_SETS] = {
    [SET_IN] = POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR,
    [SET_OUT] = POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR,
    [SET_EX] = POLLPRI,
};

struct select_sets {
    unsigned int n, words; /* descriptors; words a set */
    guest_addr at[NR_SETS];
    uint64_t *bits; /* NR_SETS * words */
};

static bool set_has(const struct select_sets *s, int set, unsigned int fd)
{
    return s->bits[set * s->words + fd / 64] >> fd % 64 & 1;
}

static short select_events(const struct select_sets *s, unsigned int fd)
{
    short events = 0;

    for (int set = 0; set < NR_SETS; set++) {
        if (set_has(s, set, fd))
            events |= set_events[set];
    }
    return events;
}

static unsigned int count_wanted(const struct select_sets *s)
{
    unsigned int n = 0;

    for (unsigned int fd = 0; fd < s->n; fd++)
        n += select_events(s, fd) != 0;
    return n;
}

static int64_t put_results(struct task *t, struct select_sets *s, const struct pollfd *fds, unsigned int n)
{
    int64_t count = 0;
    size_t bytes = s->words * sizeof(uint64_t);
    uint64_t had;

    for (unsigned int i = 0; i < n; i++) {
        unsigned int fd = (unsigned int)fds[i].fd;

        for (int set = 0; set < NR_SETS; set++) {
            had = s->bits[set * s->words + fd / 64] & 1ULL << fd % 64;
            if (had && !(fds[i].revents & set_events[set]))
                s->bits[set * s->words + fd / 64] &= ~had;
            else
                count += had != 0;
        }
    }
    for (int set = 0; set < NR_SETS; set++) {
        if (!guest_is_null(s->at[set]) && copy_out(t, s->at[set], s->bits + set * s->words, bytes))
            return -EFAULT;
    }
    return count;
}

static int64_t select_wait(struct task *t, struct select_sets *s, int64_t deadline)
{
    unsigned int n = count_wanted(s), i = 0;
    struct pollfd few[INLINE_FDS], *fds = few;
    int64_t r;

    if (n > INLINE_FDS) {
        fds = malloc(n * sizeof(*fds));
        if (!fds)
            return -ENOMEM;
    }
    for (unsigned int fd = 0; fd < s->n && i < n; fd++) {
        short events = select_events(s, fd);
        if (events)
            fds[i++] = (struct pollfd){.fd = (int)fd, .events = events};
    }
    r = task_poll(t, fds, n, deadline);
    for (i = 0; i < n && r > 0; i++) {
        if (fds[i].revents & POLLNVAL)
            r = -EBADF;
    }
    if (r >= 0)
        r = put_results(t, s, fds, n);
    if (fds != few)
        free(fds);
    return r;
}

static int64_t do_select(struct task *t, const struct syscall_args *a, int64_t deadline)
{
    uint64_t few[NR_SETS * INLINE_FDS / 64];
    struct select_sets s = {.bits = few};
    int n = arg_int(a, 0);
    int64_t r = 0;

    if (n < 0)
        return -EINVAL;
    s.n = n > MAX_SELECT ? MAX_SELECT : (unsigned int)n;
    s.words = (s.n + 63) / 64;
    if (s.words * NR_SETS > ARRAY_SIZE(few)) {
        s.bits = malloc(s.words * NR_SETS * sizeof(uint64_t));
        if (!s.bits)
            return -ENOMEM;
    }
    memset(s.bits, 0, s.words * NR_SETS * sizeof(uint64_t));
    for (int set = 0; set < NR_SETS && r == 0; set++) {
        s.at[set] = arg_addr(a, 1 + set);
        if (!guest_is_null(s.at[set]))
            r = copy_in(t, s.bits + set * s.words, s.at[set], s.words * sizeof(uint64_t));
    }
    if (r == 0)
        r = select_wait(t, &s, deadline);
    if (s.bits != few)
        free(s.bits);
    return r;
}

int64_t sys_select(struct task *t, const struct syscall_args *a)
{
    struct timeout to;
    int err = get_select_timeval(t, arg_addr(a, 4), &to);

    return err ? err : finish_timeout(t, &to, do_select(t, a, to.deadline));
}

int64_t sys_pselect6(struct task *t, const struct syscall_args *a)
{
    struct {
        uint64_t set, size;
    } sig = {0};
    struct timeout to;
    int64_t r;
    int err;

    if (a->v[5] && copy_in(t, &sig, arg_addr(a, 5), sizeof(sig)))
        return -EFAULT;
    err = get_timespec(t, arg_addr(a, 4), &to);
    if (!err)
        err = task_sigmask_begin(t, guest_addr_of(sig.set), sig.size);
    if (err)
        return err;
    r = do_select(t, a, to.deadline);
    task_sigmask_end(t, r == -ERESTARTNOHAND);
    return finish_timeout(t, &to, r);
}
