#include "lib/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set_text(struct error *e, int errnum, const char *fmt, ...)
{
    char why[128];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    if (errnum > 0 && n >= 0 && (size_t)n < sizeof(e->text))
        snprintf(e->text + n, sizeof(e->text) - (size_t)n, ": %s", strerror_r(errnum, why, sizeof(why)));
    return errnum > 0 ? -errnum : -EINVAL;
}

int error_prefix(struct error *e, int r, const char *fmt, ...)
{
    char old[sizeof(e->text)];
    va_list ap;
    int n;

    memcpy(old, e->text, sizeof(old));
    va_start(ap, fmt);
    n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(e->text))
        n = snprintf(e->text + n, sizeof(e->text) - (size_t)n, ": %s", old); /* what does not fit is cut off */
    return n < 0 ? -1 : r;
}
