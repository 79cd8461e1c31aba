/* Option parsing from tables, by getopt_long. */
#include "cmd/runsc-c/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTS = 40 };

static int list_add(struct opt_list *l, const char *s)
{
    const char **v = realloc(l->v, (l->n + 1) * sizeof(*v));

    if (!v)
        return -ENOMEM;
    v[l->n++] = s;
    l->v = v;
    return 0;
}

int option_set(const struct opt *o, void *dest, const char *arg, struct error *e)
{
    void *field = (char *)dest + o->offset;
    char *end;
    long n;

    switch (o->kind) {
    case OPT_FLAG:
        /* getopt_long gives a value only for --flag=value. */
        if (arg && strcmp(arg, "true") != 0 && strcmp(arg, "false") != 0)
            return error_set(e, 0, "--%s: \"%s\" is neither true nor false", o->name, arg);
        *(bool *)field = !arg || strcmp(arg, "true") == 0;
        return 0;
    case OPT_STRING:
        *(const char **)field = arg;
        return 0;
    case OPT_INT:
        errno = 0;
        n = strtol(arg, &end, 10);
        if (errno || *end || end == arg || n < 0 || n > 1000000000)
            return error_set(e, 0, "--%s: \"%s\" is not a number", o->name, arg);
        *(int *)field = (int)n;
        return 0;
    case OPT_LIST:
        if (list_add(field, arg) < 0)
            return error_set(e, ENOMEM, "--%s", o->name);
        return 0;
    }
    return error_set(e, 0, "--%s: bad table", o->name);
}

int options_parse(const struct opt *opts, void *dest, int argc, char **argv, struct error *e)
{
    struct option longs[MAX_OPTS + 1] = {{0}};
    char shorts[2 * MAX_OPTS + 3] = "+:", *s = shorts + 2;
    int n, c;

    for (n = 0; n < MAX_OPTS && opts[n].name; n++) {
        bool flag = opts[n].kind == OPT_FLAG;
        longs[n] = (struct option){opts[n].name, flag ? optional_argument : required_argument, NULL, 256 + n};
        if (opts[n].letter) {
            *s++ = opts[n].letter;
            if (!flag)
                *s++ = ':';
        }
    }
    *s = '\0';
    optind = 0;
    opterr = 0;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const struct opt *o = opts;
        int r;

        if (c == ':')
            return error_set(e, 0, "option %s needs a value", argv[optind - 1]);
        if (c == '?')
            return error_set(e, 0, "unknown option %s", argv[optind - 1]);
        for (int i = 0; i < n; i++)
            if (c == 256 + i || (opts[i].letter && opts[i].letter == c))
                o = &opts[i];
        r = option_set(o, dest, optarg, e);
        if (r < 0)
            return r;
    }
    return optind;
}

void options_print(const struct opt *opts)
{
    for (; opts->name; opts++) {
        char left[64];
        snprintf(left, sizeof(left), "%s%c%s--%s%s%s", opts->letter ? "-" : "  ", opts->letter ? opts->letter : ' ',
                 opts->letter ? ", " : " ", opts->name, opts->value ? " " : "", opts->value ? opts->value : "");
        printf("  %-34s %s\n", left, opts->help);
    }
}
