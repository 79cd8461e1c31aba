/*
 * Prints calls with their arguments decoded, by the letters of table.def:
 *
 *   d int   u unsigned   l long   x hex   o octal   z size   p pointer
 *   f descriptor   D directory descriptor (AT_FDCWD)   g signal
 *   s string   b buffer of the next argument's length   v array of strings
 *   t struct timespec   S struct stat (out)   I two ints (out)   w wait status (out)   a sockaddr
 *   and O P M C F k i A W m y Y K h e B q r: names from a table, see strace_names.c
 *
 * One line a call, when it returns. Calls that may not return (exit, execve), and with --debug every call, have a line when
 * they begin as well. Arguments are read from guest memory a second time, so a racing guest can make the trace lie; it decides
 * nothing.
 */
#include "sentry/syscalls/strace.h"

#include "lib/log.h"
#include "sentry/syscalls/strace_names.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

enum { MAX_STRING = 48, MAX_ARGV = 8 };

struct line {
    char buf[900];
    size_t n;
};

static void put(struct line *l, const char *fmt, ...) printf_like(2, 3);
static void put(struct line *l, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(l->buf + l->n, sizeof(l->buf) - l->n, fmt, ap);
    va_end(ap);
    if (n > 0)
        l->n += (size_t)n;
    if (l->n >= sizeof(l->buf))
        l->n = sizeof(l->buf) - 1;
}

static void put_quoted(struct line *l, const char *s, size_t n, bool more)
{
    put(l, "\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '\n')
            put(l, "\\n");
        else if (c == '"' || c == '\\')
            put(l, "\\%c", c);
        else if (isprint(c))
            put(l, "%c", c);
        else
            put(l, "\\x%02x", c);
    }
    put(l, more ? "\"..." : "\"");
}

static void put_string(struct line *l, struct task *t, guest_addr a)
{
    char s[256];
    ssize_t n;

    if (guest_is_null(a)) {
        put(l, "NULL");
        return;
    }
    n = copy_str_in(t, s, a, sizeof(s));
    if (n == -ENAMETOOLONG)
        put_quoted(l, s, 64, true);
    else if (n < 0)
        put(l, "%#" PRIx64, a.a);
    else
        put_quoted(l, s, (size_t)n, false);
}

static void put_buffer(struct line *l, struct task *t, guest_addr a, uint64_t size)
{
    size_t n = size < MAX_STRING ? size : MAX_STRING;
    char s[MAX_STRING];

    if (guest_is_null(a) || copy_in(t, s, a, n) < 0)
        put(l, "%#" PRIx64, a.a);
    else
        put_quoted(l, s, n, size > n);
}

static void put_argv(struct line *l, struct task *t, guest_addr a)
{
    if (guest_is_null(a)) {
        put(l, "NULL");
        return;
    }
    put(l, "[");
    for (int i = 0;; i++) {
        uint64_t p;

        if (copy_in(t, &p, guest_add(a, (uint64_t)i * 8), 8) < 0 || p == 0)
            break;
        put(l, "%s", i ? ", " : "");
        if (i == MAX_ARGV) {
            put(l, "...");
            break;
        }
        put_string(l, t, guest_addr_of(p));
    }
    put(l, "]");
}

static void put_timespec(struct line *l, struct task *t, guest_addr a)
{
    struct timespec ts;

    if (guest_is_null(a))
        put(l, "NULL");
    else if (copy_in(t, &ts, a, sizeof(ts)) < 0)
        put(l, "%#" PRIx64, a.a);
    else
        put(l, "{%lld.%09ld}", (long long)ts.tv_sec, ts.tv_nsec);
}

static void put_stat(struct line *l, struct task *t, guest_addr a)
{
    struct stat st;

    if (copy_in(t, &st, a, sizeof(st)) < 0)
        put(l, "%#" PRIx64, a.a);
    else
        put(l, "{ino=%lu, mode=%#o, uid=%u, gid=%u, size=%lld}", st.st_ino, st.st_mode, st.st_uid, st.st_gid,
            (long long)st.st_size);
}

static void put_sockaddr(struct line *l, struct task *t, guest_addr a, uint64_t len)
{
    union {
        struct sockaddr sa;
        struct sockaddr_un un;
        struct sockaddr_in in;
    } s = {{0}};
    char ip[INET_ADDRSTRLEN];

    if (len > sizeof(s))
        len = sizeof(s);
    if (guest_is_null(a) || len < sizeof(sa_family_t) || copy_in(t, &s, a, len) < 0) {
        put(l, "%#" PRIx64, a.a);
    } else if (s.sa.sa_family == AF_UNIX) {
        const char *path = s.un.sun_path;
        size_t n = len - sizeof(sa_family_t);
        put(l, "{AF_UNIX, ");
        if (n > 0 && path[0] == '\0') {
            put(l, "@");
            put_quoted(l, path + 1, n - 1, false);
        } else {
            put_quoted(l, path, strnlen(path, n), false);
        }
        put(l, "}");
    } else if (s.sa.sa_family == AF_INET) {
        put(l, "{AF_INET, %s:%d}", inet_ntop(AF_INET, &s.in.sin_addr, ip, sizeof(ip)), ntohs(s.in.sin_port));
    } else {
        put(l, "{family %d}", s.sa.sa_family);
    }
}

static void put_signal(struct line *l, uint64_t v)
{
    const char *name = v < NSIG ? sigabbrev_np((int)v) : NULL;

    if (name)
        put(l, "SIG%s", name);
    else
        put(l, "%d", (int)v);
}

/* Kinds whose contents exist only when the call has succeeded. */
static bool is_output(char kind)
{
    return kind == 'S' || kind == 'I' || kind == 'w';
}

static void put_output(struct line *l, struct task *t, char kind, guest_addr a)
{
    int v[2] = {0};

    if (guest_is_null(a))
        put(l, "NULL");
    else if (kind == 'S')
        put_stat(l, t, a);
    else if (copy_in(t, v, a, kind == 'I' ? 8 : 4) < 0)
        put(l, "%#" PRIx64, a.a);
    else if (kind == 'I')
        put(l, "[%d, %d]", v[0], v[1]);
    else
        put(l, "[%#x]", v[0]);
}

static void put_arg(struct line *l, struct task *t, char kind, const struct syscall_args *a, int i)
{
    const struct strace_table *table = strace_table_of(kind);
    uint64_t v = a->v[i], next = i < 5 ? a->v[i + 1] : 0;
    char names[256];

    if (table) {
        /* An ioctl, a command and the like are 32 bits wide whatever the register holds. */
        strace_print_names(table, kind == 'C' ? v : (uint32_t)v, names, sizeof(names));
        put(l, "%s", names);
        return;
    }
    switch (kind) {
    case 'd':
    case 'f':
        put(l, "%d", (int)v);
        return;
    case 'D':
        if ((int)v == AT_FDCWD)
            put(l, "AT_FDCWD");
        else
            put(l, "%d", (int)v);
        return;
    case 'u':
        put(l, "%u", (unsigned int)v);
        return;
    case 'l':
        put(l, "%" PRId64, (int64_t)v);
        return;
    case 'z':
        put(l, "%" PRIu64, v);
        return;
    case 'o':
        put(l, "%#o", (unsigned int)v);
        return;
    case 'g':
        put_signal(l, v);
        return;
    case 's':
        put_string(l, t, guest_addr_of(v));
        return;
    case 'b':
        put_buffer(l, t, guest_addr_of(v), next);
        return;
    case 'v':
        put_argv(l, t, guest_addr_of(v));
        return;
    case 't':
        put_timespec(l, t, guest_addr_of(v));
        return;
    case 'a':
        put_sockaddr(l, t, guest_addr_of(v), (uint32_t)next);
        return;
    default:
        if (v)
            put(l, "%#" PRIx64, v);
        else
            put(l, kind == 'p' ? "NULL" : "0");
    }
}

/* Everything up to, and the outputs from, where output arguments are: these wait for the result. */
static void put_args(struct line *l, struct task *t, const struct syscall_desc *d, const struct syscall_args *a, bool returned)
{
    for (int i = 0; i < 6 && d->args[i]; i++) {
        if (i)
            put(l, ", ");
        if (is_output(d->args[i]) && returned)
            put_output(l, t, d->args[i], guest_addr_of(a->v[i]));
        else
            put_arg(l, t, d->args[i], a, i);
    }
}

static void put_result(struct line *l, const struct syscall_desc *d, int64_t r)
{
    const char *name;

    switch (-r) {
    case ERESTARTSYS:
    case ERESTARTNOINTR:
    case ERESTARTNOHAND:
    case ERESTART_RESTARTBLOCK:
        put(l, ") = ? (interrupted)");
        return;
    default:
        break;
    }
    if (r < 0 && r >= -4095) {
        name = strerrorname_np((int)-r);
        put(l, ") = -1 %s (%s)", name ? name : "?", strerrordesc_np((int)-r) ? strerrordesc_np((int)-r) : "?");
    } else if (strcmp(d->name, "mmap") == 0 || strcmp(d->name, "brk") == 0 || strcmp(d->name, "mremap") == 0) {
        put(l, ") = %#" PRIx64, (uint64_t)r);
    } else {
        put(l, ") = %" PRId64, r);
    }
}

static bool may_not_return(const struct syscall_desc *d)
{
    return strncmp(d->name, "exit", 4) == 0 || strncmp(d->name, "exec", 4) == 0 || strcmp(d->name, "rt_sigreturn") == 0;
}

static bool has_output(const struct syscall_desc *d)
{
    for (const char *k = d->args; *k; k++)
        if (is_output(*k))
            return true;
    return false;
}

static void begin(struct line *l, struct task *t, const struct syscall_desc *d)
{
    l->n = 0;
    put(l, "[%d %s] %s(", t->tid, t->comm, d->name);
}

int64_t strace_call(struct task *t, const struct syscall_desc *d, const struct syscall_args *a)
{
    bool ends_here = may_not_return(d), outputs = has_output(d);
    struct line l;
    int64_t r;

    /* Inputs are printed as they were before the call, which may overwrite them. */
    begin(&l, t, d);
    put_args(&l, t, d, a, false);
    if (ends_here)
        log_info("%s)", l.buf);
    else if (log_enabled(LOG_LEVEL_DEBUG))
        log_debug("%s ...", l.buf);
    r = d->fn(t, a);
    if (ends_here && r >= 0)
        return r;
    if (outputs && r >= 0) {
        begin(&l, t, d);
        put_args(&l, t, d, a, true);
    }
    put_result(&l, d, r);
    log_info("%s", l.buf);
    return r;
}
