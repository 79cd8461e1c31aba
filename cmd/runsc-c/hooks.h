/*
 * OCI hooks: programs of the host that run at fixed points of a container's life, with its state as JSON on their stdin.
 * startContainer hooks are the exception: they run inside the sandbox (sentry/boot), because their path is the container's.
 */
#ifndef CMD_RUNSC_C_HOOKS_H
#define CMD_RUNSC_C_HOOKS_H

#include "lib/error.h"

#include <stdbool.h>
#include <stddef.h>

struct json_object;

enum hook_kind {
    HOOK_PRESTART,
    HOOK_CREATE_RUNTIME,
    HOOK_CREATE_CONTAINER,
    HOOK_START_CONTAINER,
    HOOK_POSTSTART,
    HOOK_POSTSTOP,
    NR_HOOK_KINDS,
};
const char *hook_kind_name(enum hook_kind kind);

struct hook {
    const char *path;
    const char **args; /* NULL: the path alone */
    const char **env;  /* NULL: none */
    int timeout;       /* seconds; 0: none */
};

struct hook_list {
    struct hook *v;
    size_t n;
};

struct hooks {
    struct hook_list of[NR_HOOK_KINDS];
};

/* Parses a "hooks" object (NULL: no hooks), whose strings the result borrows. */
int must_check hooks_parse(struct json_object *o, struct hooks *out, struct error *e);
/* Whether any hook runs on the host before the container has started. */
bool hooks_at_create(const struct hooks *h);
/* Whether there is any hook of the host's. */
bool hooks_any(const struct hooks *h);

/*
 * Runs all hooks of a kind, one after the other, with `state` (a text) on stdin; stops at the first that fails, exits with
 * non-zero or takes longer than its time-out, in which case it is killed. Of poststop hooks all run, and the first error
 * counts.
 */
int must_check hooks_run(const struct hooks *h, enum hook_kind kind, const char *state, struct error *e);

#endif
