/* Growing text, see pseudofs.h. */
#include "sentry/fs/pseudofs.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEQ_FIRST 1024
#define SEQ_MAX   (256UL << 20) /* nothing here is that long; a bound against arithmetic going wild */

static bool seq_room(struct seq *s, size_t n)
{
    size_t cap = s->cap ? s->cap : SEQ_FIRST;
    char *p;

    if (s->failed)
        return false;
    if (s->cap - s->len > n)
        return true;
    while (cap - s->len <= n && cap < SEQ_MAX)
        cap *= 2;
    p = cap < SEQ_MAX ? realloc(s->buf, cap) : NULL;
    if (!p) {
        s->failed = true;
        return false;
    }
    s->buf = p;
    s->cap = cap;
    return true;
}

void seq_printf(struct seq *s, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (!seq_room(s, 128))
        return;
    va_start(ap, fmt);
    n = vsnprintf(s->buf + s->len, s->cap - s->len, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n >= s->cap - s->len) {
        if (!seq_room(s, n))
            return;
        va_start(ap, fmt);
        vsnprintf(s->buf + s->len, s->cap - s->len, fmt, ap);
        va_end(ap);
    }
    s->len += n;
}

void seq_write(struct seq *s, const void *data, size_t n)
{
    if (!seq_room(s, n))
        return;
    memcpy(s->buf + s->len, data, n);
    s->len += n;
}

void seq_puts(struct seq *s, const char *str)
{
    seq_write(s, str, strlen(str));
}

void seq_putc(struct seq *s, char ch)
{
    seq_write(s, &ch, 1);
}

void seq_escape(struct seq *s, const char *str, const char *special)
{
    for (; *str; str++) {
        if (strchr(special, *str))
            seq_printf(s, "\\%03o", (unsigned char)*str);
        else
            seq_putc(s, *str);
    }
}

void seq_pad(struct seq *s, size_t from, size_t width)
{
    while (!s->failed && s->len - from < width)
        seq_putc(s, ' ');
}
