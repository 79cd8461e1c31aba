/* SOL_SOCKET options: a table of words that are set and read back, and those that need more. */
#include "netstack/stack.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/bpf.h"
#include "sentry/socket/inet_loopback/inet.h"
#include "sentry/socket/net.h"
#include "sentry/socket/socket.h"

#include <errno.h>
#include <limits.h>
#include <linux/net_tstamp.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <sys/time.h>

/* What the kernel's headers have and libc's may lack. */
enum {
    K_SO_BINDTODEVICE = 25,
    K_SO_ATTACH_FILTER = 26,
    K_SO_DETACH_FILTER = 27,
    K_SO_RXQ_OVFL = 40,
    K_SO_WIFI_STATUS = 41,
    K_SO_PEEK_OFF = 42,
    K_SO_NOFCS = 43,
    K_SO_LOCK_FILTER = 44,
    K_SO_SELECT_ERR_QUEUE = 45,
    K_SO_BUSY_POLL = 46,
    K_SO_MAX_PACING_RATE = 47,
    K_SO_BPF_EXTENSIONS = 48,
    K_SO_INCOMING_CPU = 49,
    K_SO_ATTACH_BPF = 50,
    K_SO_ATTACH_REUSEPORT_CBPF = 51,
    K_SO_ATTACH_REUSEPORT_EBPF = 52,
    K_SO_CNX_ADVICE = 53,
    K_SO_MEMINFO = 55,
    K_SO_INCOMING_NAPI = 56,
    K_SO_COOKIE = 57,
    K_SO_ZEROCOPY = 60,
    K_SO_TXTIME = 61,
    K_SO_TIMESTAMP_NEW = 63,
    K_SO_TIMESTAMPNS_NEW = 64,
    K_SO_TIMESTAMPING_NEW = 65,
    K_SO_RCVTIMEO_NEW = 66,
    K_SO_SNDTIMEO_NEW = 67,
    K_SO_DETACH_REUSEPORT_BPF = 68,
    K_SO_PREFER_BUSY_POLL = 69,
    K_SO_BUSY_POLL_BUDGET = 70,
    K_SO_NETNS_COOKIE = 71,
    K_SO_BUF_LOCK = 72,
    K_SO_RESERVE_MEM = 73,
    K_SO_TXREHASH = 74,
};

/* All that linux/net_tstamp.h had in 6.12, hardware included, which is kept and never happens. */
#define TIMESTAMPING_KNOWN ((1u << 18) - 1)
#define OPT_ID_TCP         (1u << 16)

/* The least that Linux allows. */
#define MIN_SNDBUF 4608
#define MIN_RCVBUF 2304

int sockopt_get_int(const void *val, socklen_t len, int *out)
{
    if (len < sizeof(*out))
        return -EINVAL;
    memcpy(out, val, sizeof(*out));
    return 0;
}

int sockopt_put_int(void *val, socklen_t *len, int v)
{
    if (*len > sizeof(v))
        *len = sizeof(v);
    memcpy(val, &v, *len);
    return 0;
}

/* Options that are one truth value. */
static const struct flag_option {
    int name;
    size_t offset;
} flag_options[] = {
    {SO_REUSEADDR, offsetof(struct socket, reuseaddr)},
    {SO_REUSEPORT, offsetof(struct socket, reuseport)},
    {SO_KEEPALIVE, offsetof(struct socket, keepalive)},
    {SO_BROADCAST, offsetof(struct socket, broadcast)},
    {SO_OOBINLINE, offsetof(struct socket, oobinline)},
    {SO_DONTROUTE, offsetof(struct socket, dontroute)},
    {SO_PASSCRED, offsetof(struct socket, passcred)},
    {SO_NO_CHECK, offsetof(struct socket, no_check)},
    {SO_DEBUG, offsetof(struct socket, debug)},
    {K_SO_RXQ_OVFL, offsetof(struct socket, rxq_ovfl)},
    {K_SO_WIFI_STATUS, offsetof(struct socket, wifi_status)},
    {K_SO_NOFCS, offsetof(struct socket, nofcs)},
    {K_SO_LOCK_FILTER, offsetof(struct socket, lock_filter)},
    {K_SO_SELECT_ERR_QUEUE, offsetof(struct socket, select_err_queue)},
    {K_SO_PREFER_BUSY_POLL, offsetof(struct socket, prefer_busy_poll)},
};

static bool *flag_of(struct socket *s, int name)
{
    for (size_t i = 0; i < ARRAY_SIZE(flag_options); i++) {
        if (flag_options[i].name == name)
            return (bool *)((char *)s + flag_options[i].offset);
    }
    return NULL;
}

static void set_buffer(struct socket *s, bool send, int v, bool force)
{
    int max = atomic_load(send ? &s->net->wmem_max : &s->net->rmem_max);

    if (!force && (v > max || v < 0)) /* compared as unsigned */
        v = max;
    if (v < 0)
        v = 0;
    v = v > INT_MAX / 2 ? INT_MAX - 1 : v * 2;
    if (send) {
        s->sndbuf = v < MIN_SNDBUF ? MIN_SNDBUF : v;
        s->sndbuf_set = true;
    } else {
        s->rcvbuf = v < MIN_RCVBUF ? MIN_RCVBUF : v;
        s->rcvbuf_set = true;
    }
}

static int set_timeout(const void *val, socklen_t len, int64_t *out)
{
    struct timeval tv;

    if (len < sizeof(tv))
        return -EINVAL;
    memcpy(&tv, val, sizeof(tv));
    if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
        return -EDOM;
    if (tv.tv_sec < 0)
        *out = 0;
    else if (tv.tv_sec == 0 && tv.tv_usec == 0)
        *out = INT64_MAX;
    else
        *out = timespec_to_ns((struct timespec){.tv_sec = tv.tv_sec, .tv_nsec = tv.tv_usec * 1000});
    return 0;
}

static int put_timeout(void *val, socklen_t *len, int64_t ns)
{
    struct timeval tv = {0};

    if (ns != INT64_MAX)
        tv = (struct timeval){.tv_sec = ns / NSEC_PER_SEC, .tv_usec = ns % NSEC_PER_SEC / 1000};
    if (*len > sizeof(tv))
        *len = sizeof(tv);
    memcpy(val, &tv, *len);
    return 0;
}

static int set_linger(struct socket *s, const void *val, socklen_t len)
{
    struct linger l;

    if (len < sizeof(l))
        return -EINVAL;
    memcpy(&l, val, sizeof(l));
    s->linger = l.l_onoff != 0;
    if (s->linger)
        s->linger_secs = l.l_linger;
    return 0;
}

static int bind_to_device(const void *val, socklen_t len)
{
    char name[16] = {0};

    memcpy(name, val, len < sizeof(name) - 1 ? len : sizeof(name) - 1);
    return name[0] == 0 || strcmp(name, "lo") == 0 ? 0 : -ENODEV;
}

/* One of the four ways of asking for the time of arrival, which exclude each other. */
static void set_timestamp(struct socket *s, int name, bool on)
{
    bool ns = name == SO_TIMESTAMPNS || name == K_SO_TIMESTAMPNS_NEW;

    s->timestamp = on && !ns;
    s->timestamp_ns = on && ns;
    s->timestamp_new = on && (name == K_SO_TIMESTAMP_NEW || name == K_SO_TIMESTAMPNS_NEW);
}

static int set_timestamping(struct socket *s, int name, unsigned int v)
{
    if (v & ~TIMESTAMPING_KNOWN || (v & OPT_ID_TCP && !(v & SOF_TIMESTAMPING_OPT_ID)) ||
        (v & SOF_TIMESTAMPING_OPT_STATS && !(v & SOF_TIMESTAMPING_OPT_TSONLY)))
        return -EINVAL;
    if (v & SOF_TIMESTAMPING_OPT_ID && !(s->timestamping & SOF_TIMESTAMPING_OPT_ID))
        s->timestamping_id = 0;
    s->timestamping = v;
    s->timestamp_new = name == K_SO_TIMESTAMPING_NEW;
    return 0;
}

static bool is_ip(const struct socket *s)
{
    return s->family == AF_INET || s->family == AF_INET6;
}

static int set_flag(struct socket *s, bool *flag, int name, bool v, bool admin)
{
    if (name == SO_DEBUG && v && !admin)
        return -EACCES;
    if (name == K_SO_LOCK_FILTER && !v && s->lock_filter)
        return -EPERM;
    if (name == K_SO_PREFER_BUSY_POLL && v && !admin)
        return -EPERM;
    if (name == SO_PASSCRED && s->family != AF_UNIX && s->family != AF_NETLINK)
        return -EOPNOTSUPP;
    if (name == SO_REUSEPORT && v && !is_ip(s))
        return -EOPNOTSUPP;
    *flag = v;
    return 0;
}

static int set_int_option(struct socket *s, struct task *t, int name, int v)
{
    bool admin = cred_has_cap(t->cred, CAP_NET_ADMIN), *flag = flag_of(s, name);

    if (flag)
        return set_flag(s, flag, name, v != 0, admin);
    switch (name) {
    case SO_SNDBUF:
    case SO_RCVBUF:
        set_buffer(s, name == SO_SNDBUF, v, false);
        return 0;
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
        if (!admin)
            return -EPERM;
        set_buffer(s, name == SO_SNDBUFFORCE, v, true);
        return 0;
    case SO_PRIORITY:
        if ((v < 0 || v > 6) && !admin && !cred_has_cap(t->cred, CAP_NET_RAW))
            return -EPERM;
        s->priority = v;
        return 0;
    case SO_MARK:
        if (!admin && !cred_has_cap(t->cred, CAP_NET_RAW))
            return -EPERM;
        s->mark = v;
        return 0;
    case SO_RCVLOWAT:
        s->rcvlowat = v < 0 ? INT_MAX : v ? v : 1;
        return 0;
    case SO_TIMESTAMP:
    case SO_TIMESTAMPNS:
    case K_SO_TIMESTAMP_NEW:
    case K_SO_TIMESTAMPNS_NEW:
        set_timestamp(s, name, v != 0);
        return 0;
    case SO_TIMESTAMPING:
    case K_SO_TIMESTAMPING_NEW:
        return set_timestamping(s, name, (unsigned int)v);
    case SO_BSDCOMPAT:
    case K_SO_CNX_ADVICE:
        return 0;
    case K_SO_INCOMING_CPU:
        s->incoming_cpu = v;
        return 0;
    case K_SO_MAX_PACING_RATE:
        s->max_pacing_rate = v == -1 ? UINT64_MAX : (uint32_t)v;
        return 0;
    case K_SO_BUSY_POLL:
        if (v < 0)
            return -EINVAL;
        if (v > s->busy_poll && !admin)
            return -EPERM;
        s->busy_poll = v;
        return 0;
    case K_SO_BUSY_POLL_BUDGET:
        return v < 0 || v > UINT16_MAX ? -EINVAL : v > 8 && !admin ? -EPERM : 0;
    case K_SO_PEEK_OFF:
        return -EOPNOTSUPP;
    case K_SO_ZEROCOPY:
        if (!is_ip(s) || (s->type != SOCK_STREAM && s->type != SOCK_DGRAM))
            return -EOPNOTSUPP;
        if (v < 0 || v > 1)
            return -EINVAL;
        s->zerocopy = v;
        return 0;
    case K_SO_BUF_LOCK:
        if (v & ~3)
            return -EINVAL;
        s->buf_lock = (unsigned int)v;
        return 0;
    case K_SO_TXREHASH:
        if (v < -1 || v > 1)
            return -EINVAL;
        s->txrehash = v == -1 ? 1 : v;
        return 0;
    case K_SO_RESERVE_MEM:
        return v < 0 ? -EINVAL : -EOPNOTSUPP; /* as without memory cgroups */
    case SO_PASSSEC:
        return s->family == AF_UNIX || s->family == AF_NETLINK ? -ENOPROTOOPT : -EOPNOTSUPP;
    case K_SO_ATTACH_BPF:
    case K_SO_ATTACH_REUSEPORT_EBPF:
        return v < 0 || v > 2 ? -EBADF : -EINVAL; /* no descriptor is a program */
    default:
        return -ENOPROTOOPT;
    }
}

/* Takes `p` over. */
static void set_program(struct socket *s, struct bpf_prog **at, struct bpf_prog *p)
{
    struct bpf_prog *old;

    if (at == &s->reuseport_prog) {
        bpf_prog_put(inet_table_set_program(inet_of(s), p));
        return;
    }
    /* It may be run under either lock, so both are held. */
    mutex_lock(&s->lock);
    netstack_lock(s->net->stack);
    old = s->filter;
    s->filter = p;
    netstack_unlock(s->net->stack);
    mutex_unlock(&s->lock);
    bpf_prog_put(old);
}

static int attach(struct socket *s, struct task *t, struct bpf_prog **at, const void *val, socklen_t len)
{
    struct bpf_prog *p;
    int r = bpf_prog_create(t, val, len, &p);

    if (r < 0)
        return r;
    if (at == &s->reuseport_prog && !is_ip(s)) {
        bpf_prog_put(p);
        return -EINVAL;
    }
    if (at == &s->filter && s->lock_filter) {
        bpf_prog_put(p);
        return -EPERM;
    }
    set_program(s, at, p);
    return 0;
}

static int detach(struct socket *s, struct bpf_prog **at)
{
    if (at == &s->filter && s->lock_filter)
        return -EPERM;
    if (!*at)
        return -ENOENT;
    set_program(s, at, NULL);
    return 0;
}

int64_t socket_get_filter(struct socket *s, struct task *t, guest_addr at, guest_addr at_len)
{
    struct bpf_prog *p;
    int64_t r = 0;
    int len, n;

    if (copy_in(t, &len, at_len, sizeof(len)))
        return -EFAULT;
    mutex_lock(&s->lock);
    p = bpf_prog_get(s->filter);
    mutex_unlock(&s->lock);
    n = p ? (int)p->len : 0;
    if (len && len < n)
        r = -EINVAL;
    else if ((len && n && copy_out(t, at, p->insns, (size_t)n * sizeof(p->insns[0]))) || copy_out(t, at_len, &n, sizeof(n)))
        r = -EFAULT;
    bpf_prog_put(p);
    return r;
}

static int set_pacing_rate(struct socket *s, const void *val, socklen_t len)
{
    uint64_t rate;

    memcpy(&rate, val, sizeof(rate));
    s->max_pacing_rate = rate;
    return 0;
}

static bool is_timeout(int name)
{
    return name == SO_RCVTIMEO || name == K_SO_RCVTIMEO_NEW || name == SO_SNDTIMEO || name == K_SO_SNDTIMEO_NEW;
}

static int set_socket_level(struct socket *s, struct task *t, int name, const void *val, socklen_t len)
{
    int v, r;

    if (s->ops->own_options && !is_timeout(name))
        return s->ops->setsockopt(s, t, SOL_SOCKET, name, val, len);
    switch (name) {
    case K_SO_BINDTODEVICE:
        if (s->family == AF_INET || s->family == AF_INET6)
            return s->ops->setsockopt(s, t, SOL_SOCKET, name, val, len);
        return bind_to_device(val, len);
    case SO_LINGER:
        return set_linger(s, val, len);
    case SO_RCVTIMEO:
    case K_SO_RCVTIMEO_NEW:
        return set_timeout(val, len, &s->rcvtimeo);
    case SO_SNDTIMEO:
    case K_SO_SNDTIMEO_NEW:
        return set_timeout(val, len, &s->sndtimeo);
    case K_SO_MAX_PACING_RATE:
        if (len >= sizeof(uint64_t))
            return set_pacing_rate(s, val, len);
        break;
    default:
        break;
    }
    r = sockopt_get_int(val, len, &v);
    if (r)
        return r;
    switch (name) {
    case K_SO_ATTACH_FILTER:
        return attach(s, t, &s->filter, val, len);
    case K_SO_ATTACH_REUSEPORT_CBPF:
        return attach(s, t, &s->reuseport_prog, val, len);
    case K_SO_DETACH_FILTER:
        return detach(s, &s->filter);
    case K_SO_DETACH_REUSEPORT_BPF:
        return detach(s, &s->reuseport_prog);
    default:
        break;
    }
    mutex_lock(&s->lock);
    r = set_int_option(s, t, name, v);
    mutex_unlock(&s->lock);
    return r == -ENOPROTOOPT ? s->ops->setsockopt(s, t, SOL_SOCKET, name, val, len) : r;
}

int socket_setopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len)
{
    int r;

    if (level != SOL_SOCKET)
        return s->ops->setsockopt(s, t, level, name, val, len);
    r = set_socket_level(s, t, name, val, len);
    if (r == 0 && s->ops->so_changed)
        s->ops->so_changed(s, name);
    return r;
}

static int put_bytes(void *val, socklen_t *len, const void *from, socklen_t n)
{
    if (*len > n)
        *len = n;
    memcpy(val, from, *len);
    return 0;
}

static int get_peername(struct socket *s, void *val, socklen_t *len)
{
    struct sock_addr a;
    int r = s->ops->getname(s, true, &a);

    if (r)
        return -ENOTCONN;
    if (a.len < *len)
        return -EINVAL;
    memcpy(val, a.raw, *len);
    return 0;
}

static int get_meminfo(struct socket *s, void *val, socklen_t *len)
{
    uint32_t info[SK_MEMINFO_VARS] = {[SK_MEMINFO_RMEM_ALLOC] = (uint32_t)atomic_load(&s->rq.bytes),
                                      [SK_MEMINFO_RCVBUF] = (uint32_t)s->rcvbuf,
                                      [SK_MEMINFO_WMEM_ALLOC] = atomic_load(&s->wmem),
                                      [SK_MEMINFO_SNDBUF] = (uint32_t)s->sndbuf,
                                      [SK_MEMINFO_DROPS] = atomic_load(&s->drops)};

    return put_bytes(val, len, info, sizeof(info));
}

int socket_getopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    struct linger l;
    bool *flag;
    uint64_t cookie;

    if (level != SOL_SOCKET || (s->ops->own_options && !is_timeout(name)))
        return s->ops->getsockopt(s, t, level, name, val, len);
    flag = flag_of(s, name);
    if (name == SO_PASSCRED && s->family != AF_UNIX && s->family != AF_NETLINK)
        return -EOPNOTSUPP;
    if (flag)
        return sockopt_put_int(val, len, *flag);
    switch (name) {
    case SO_SNDBUF:
        return sockopt_put_int(val, len, s->sndbuf);
    case SO_RCVBUF:
        return sockopt_put_int(val, len, s->rcvbuf);
    case SO_TYPE:
        return sockopt_put_int(val, len, s->type);
    case SO_PROTOCOL:
        return sockopt_put_int(val, len, s->protocol);
    case SO_DOMAIN:
        return sockopt_put_int(val, len, s->family);
    case SO_ERROR:
        return sockopt_put_int(val, len, s->ops->take_error ? s->ops->take_error(s) : -sock_take_error(s));
    case SO_PRIORITY:
        return sockopt_put_int(val, len, s->priority);
    case SO_MARK:
        return sockopt_put_int(val, len, s->mark);
    case SO_RCVLOWAT:
        return sockopt_put_int(val, len, s->rcvlowat);
    case SO_SNDLOWAT:
        return sockopt_put_int(val, len, 1);
    case SO_TIMESTAMP:
        return sockopt_put_int(val, len, s->timestamp);
    case SO_TIMESTAMPNS:
        return sockopt_put_int(val, len, s->timestamp_ns);
    case SO_BSDCOMPAT:
    case K_SO_INCOMING_NAPI:
    case K_SO_RESERVE_MEM:
        return sockopt_put_int(val, len, 0);
    case K_SO_TIMESTAMP_NEW:
        return sockopt_put_int(val, len, s->timestamp && s->timestamp_new);
    case K_SO_TIMESTAMPNS_NEW:
        return sockopt_put_int(val, len, s->timestamp_ns && s->timestamp_new);
    case SO_TIMESTAMPING:
    case K_SO_TIMESTAMPING_NEW:
        return put_bytes(val, len, &(unsigned int[2]){s->timestamping, 0}, 2 * sizeof(unsigned int));
    case K_SO_BUSY_POLL:
        return sockopt_put_int(val, len, s->busy_poll);
    case K_SO_INCOMING_CPU:
        return sockopt_put_int(val, len, s->incoming_cpu);
    case K_SO_MAX_PACING_RATE:
        if (*len >= sizeof(s->max_pacing_rate))
            return put_bytes(val, len, &s->max_pacing_rate, sizeof(s->max_pacing_rate));
        return sockopt_put_int(val, len, s->max_pacing_rate > UINT32_MAX ? -1 : (int)(uint32_t)s->max_pacing_rate);
    case K_SO_BPF_EXTENSIONS:
        return sockopt_put_int(val, len, SKF_AD_MAX);
    case K_SO_ZEROCOPY:
        return sockopt_put_int(val, len, s->zerocopy);
    case K_SO_TXTIME:
        return put_bytes(val, len, &(uint32_t[2]){0}, 2 * sizeof(uint32_t));
    case K_SO_BUF_LOCK:
        return sockopt_put_int(val, len, (int)s->buf_lock);
    case K_SO_TXREHASH:
        return sockopt_put_int(val, len, s->txrehash);
    case K_SO_MEMINFO:
        return get_meminfo(s, val, len);
    case SO_PASSSEC:
        return s->family == AF_UNIX || s->family == AF_NETLINK ? s->ops->getsockopt(s, t, level, name, val, len) : -EOPNOTSUPP;
    case SO_PEERGROUPS:
        return s->family == AF_UNIX ? s->ops->getsockopt(s, t, level, name, val, len) : -ENODATA;
    case SO_LINGER:
        l = (struct linger){.l_onoff = s->linger, .l_linger = s->linger_secs};
        return put_bytes(val, len, &l, sizeof(l));
    case SO_RCVTIMEO:
    case K_SO_RCVTIMEO_NEW:
        return put_timeout(val, len, s->rcvtimeo);
    case SO_SNDTIMEO:
    case K_SO_SNDTIMEO_NEW:
        return put_timeout(val, len, s->sndtimeo);
    case SO_PEERNAME:
        return get_peername(s, val, len);
    case K_SO_COOKIE:
    case K_SO_NETNS_COOKIE:
        if (*len < sizeof(cookie))
            return -EINVAL;
        cookie = name == K_SO_COOKIE ? s->ino : 1;
        return put_bytes(val, len, &cookie, sizeof(cookie));
    case K_SO_BINDTODEVICE:
        if (s->family == AF_INET || s->family == AF_INET6)
            return s->ops->getsockopt(s, t, level, name, val, len);
        *len = 0;
        return 0;
    default:
        return s->ops->getsockopt(s, t, level, name, val, len);
    }
}
