/* SOL_SOCKET options: a table of words that are set and read back, and those that need more. */
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/net.h"
#include "sentry/socket/socket.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/time.h>

/* What the kernel's headers have and libc's may lack. */
#define K_SO_BINDTODEVICE    25
#define K_SO_DETACH_FILTER   27
#define K_SO_RXQ_OVFL        40
#define K_SO_PEEK_OFF        42
#define K_SO_BUSY_POLL       46
#define K_SO_MAX_PACING_RATE 47
#define K_SO_INCOMING_CPU    49
#define K_SO_INCOMING_NAPI   56
#define K_SO_COOKIE          57
#define K_SO_RCVTIMEO_NEW    66
#define K_SO_SNDTIMEO_NEW    67
#define K_SO_NETNS_COOKIE    71

/* net.core.wmem_max, rmem_max; and the least that Linux allows. */
#define BUFFER_MAX 212992
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
    {SO_REUSEADDR, offsetof(struct socket, reuseaddr)}, {SO_REUSEPORT, offsetof(struct socket, reuseport)},
    {SO_KEEPALIVE, offsetof(struct socket, keepalive)}, {SO_BROADCAST, offsetof(struct socket, broadcast)},
    {SO_OOBINLINE, offsetof(struct socket, oobinline)}, {SO_DONTROUTE, offsetof(struct socket, dontroute)},
    {SO_PASSCRED, offsetof(struct socket, passcred)},   {SO_NO_CHECK, offsetof(struct socket, no_check)},
    {SO_DEBUG, offsetof(struct socket, debug)},         {K_SO_RXQ_OVFL, offsetof(struct socket, rxq_ovfl)},
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
    if (!force && v > BUFFER_MAX)
        v = BUFFER_MAX;
    if (v < 0)
        v = force ? 0 : BUFFER_MAX; /* compared as unsigned */
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

static int set_int_option(struct socket *s, struct task *t, int name, int v)
{
    bool admin = cred_has_cap(t->cred, CAP_NET_ADMIN), *flag = flag_of(s, name);

    if (flag) {
        if (name == SO_DEBUG && v && !admin)
            return -EACCES;
        *flag = v != 0;
        return 0;
    }
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
        if ((v < 0 || v > 6) && !admin)
            return -EPERM;
        s->priority = v;
        return 0;
    case SO_MARK:
        if (!admin)
            return -EPERM;
        s->mark = v;
        return 0;
    case SO_RCVLOWAT:
        s->rcvlowat = v < 0 ? INT_MAX : v ? v : 1;
        return 0;
    case SO_TIMESTAMP:
        s->timestamp = v != 0;
        s->timestamp_ns = false;
        return 0;
    case SO_TIMESTAMPNS:
        s->timestamp_ns = v != 0;
        s->timestamp = false;
        return 0;
    case SO_BSDCOMPAT:
    case K_SO_MAX_PACING_RATE:
    case K_SO_INCOMING_CPU:
        return 0;
    case K_SO_BUSY_POLL:
        return v < 0 ? -EINVAL : v && !admin ? -EPERM : 0;
    case K_SO_DETACH_FILTER:
        return -ENOENT;
    case K_SO_PEEK_OFF:
        return -EOPNOTSUPP;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_socket_level(struct socket *s, struct task *t, int name, const void *val, socklen_t len)
{
    int v, r;

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
    default:
        break;
    }
    r = sockopt_get_int(val, len, &v);
    if (r)
        return r;
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

int socket_getopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    struct linger l;
    bool *flag;
    uint64_t cookie;

    if (level != SOL_SOCKET)
        return s->ops->getsockopt(s, t, level, name, val, len);
    flag = flag_of(s, name);
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
    case K_SO_BUSY_POLL:
    case K_SO_INCOMING_NAPI:
    case SO_SELECT_ERR_QUEUE:
        return sockopt_put_int(val, len, 0);
    case K_SO_INCOMING_CPU:
    case K_SO_MAX_PACING_RATE:
        return sockopt_put_int(val, len, -1);
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
