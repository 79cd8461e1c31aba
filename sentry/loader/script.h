/* `#!` scripts: taking the first line apart. */
#ifndef SENTRY_LOADER_SCRIPT_H
#define SENTRY_LOADER_SCRIPT_H

#include "lib/compiler.h"

#include <stddef.h>

/* Linux looks at this much of a file. */
#define SCRIPT_HEAD 256

struct script_line {
    char interp[SCRIPT_HEAD + 1]; /* the interpreter's path */
    char arg[SCRIPT_HEAD + 1];    /* the one optional argument: all the rest of the line; "" if none */
};

/* `head` is the file's first bytes, at most SCRIPT_HEAD. 0, or -ENOEXEC when it is no script or its line is unusable. */
int must_check script_parse(const char *head, size_t len, struct script_line *out);

#endif
