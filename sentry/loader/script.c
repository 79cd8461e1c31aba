#include "sentry/loader/script.h"

#include <errno.h>
#include <string.h>

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

int script_parse(const char *head, size_t len, struct script_line *out)
{
    const char *end, *p, *name_end, *arg;

    if (len < 2 || head[0] != '#' || head[1] != '!')
        return -ENOEXEC;
    if (len > SCRIPT_HEAD)
        len = SCRIPT_HEAD;
    p = head + 2;
    end = memchr(p, '\n', len - 2);
    if (!end) {
        /* A line cut off by our limit is fine as long as the interpreter's name is whole: a blank or NUL follows it. */
        end = head + len;
        if (len == SCRIPT_HEAD) {
            const char *q = p;

            while (q < end && is_blank(*q))
                q++;
            while (q < end && !is_blank(*q) && *q)
                q++;
            if (q == end)
                return -ENOEXEC;
        }
    }
    name_end = memchr(p, 0, (size_t)(end - p));
    if (name_end)
        end = name_end;
    while (end > p && is_blank(end[-1]))
        end--;
    while (p < end && is_blank(*p))
        p++;
    if (p == end)
        return -ENOEXEC;
    for (name_end = p; name_end < end && !is_blank(*name_end); name_end++)
        ;
    for (arg = name_end; arg < end && is_blank(*arg); arg++)
        ;
    memcpy(out->interp, p, (size_t)(name_end - p));
    out->interp[name_end - p] = 0;
    memcpy(out->arg, arg, (size_t)(end - arg));
    out->arg[end - arg] = 0;
    return 0;
}
