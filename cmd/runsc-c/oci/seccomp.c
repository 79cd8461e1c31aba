/*
 * linux.seccomp becomes a BPF program, by libseccomp. The sentry runs it on the guest's calls; the host's kernel has no part in
 * it, so only the guest's own architecture counts.
 */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ARGS = 6 };

/* What the calls of one rule have in common. */
struct rule {
    uint32_t action;
    struct scmp_arg_cmp args[MAX_ARGS];
    unsigned int nr_args;
    bool same_arg_twice; /* then each comparison is a rule of its own, as runc has it */
};

struct compiler {
    scmp_filter_ctx ctx;
    uint32_t fallback;
    int highest; /* of the calls that rules name */
};

static int parse_action(const char *name, bool has_errno, uint64_t errnum, uint32_t *out, struct error *e)
{
    static const struct {
        const char *name;
        uint32_t action;
    } known[] = {
        {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},   {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
        {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},          {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
        {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},        {"SCMP_ACT_LOG", SCMP_ACT_LOG},
        {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(EPERM)}, {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(EPERM)},
    };

    if (strcmp(name, "SCMP_ACT_NOTIFY") == 0)
        return error_set(e, ENOTSUP, "linux.seccomp: SCMP_ACT_NOTIFY");
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (strcmp(known[i].name, name) != 0)
            continue;
        *out = known[i].action;
        if (has_errno && *out == SCMP_ACT_ERRNO(EPERM))
            *out = SCMP_ACT_ERRNO(errnum);
        else if (has_errno && *out == SCMP_ACT_TRACE(EPERM))
            *out = SCMP_ACT_TRACE(errnum);
        return 0;
    }
    return error_set(e, 0, "linux.seccomp: action \"%s\" is unknown", name);
}

/* An action and its errno under these two names. */
static int get_action(struct json_object *o, const char *where, const char *key, const char *errno_key, uint32_t *out,
                      struct error *e)
{
    const char *name = NULL;
    uint64_t errnum = 0;
    int r;

    if ((r = json_get_string(o, where, key, true, &name, e)) < 0 || (r = json_get_uint(o, where, errno_key, &errnum, e)) < 0)
        return r;
    if (errnum > 4095)
        return error_set(e, 0, "%s.%s is out of range", where, errno_key);
    return parse_action(name, json_object_object_get_ex(o, errno_key, NULL), errnum, out, e);
}

static int parse_arg(struct json_object *o, struct rule *rule, struct error *e)
{
    static const char *const ops[] = {[SCMP_CMP_NE] = "SCMP_CMP_NE",
                                      [SCMP_CMP_LT] = "SCMP_CMP_LT",
                                      [SCMP_CMP_LE] = "SCMP_CMP_LE",
                                      [SCMP_CMP_EQ] = "SCMP_CMP_EQ",
                                      [SCMP_CMP_GE] = "SCMP_CMP_GE",
                                      [SCMP_CMP_GT] = "SCMP_CMP_GT",
                                      [SCMP_CMP_MASKED_EQ] = "SCMP_CMP_MASKED_EQ"};
    static const char where[] = "linux.seccomp.syscalls.args";
    struct scmp_arg_cmp *a = &rule->args[rule->nr_args];
    uint64_t index = 0, value = 0, second = 0;
    const char *op = NULL;
    int r;

    if (!json_object_is_type(o, json_type_object))
        return error_set(e, 0, "%s: not an object", where);
    if ((r = json_get_uint(o, where, "index", &index, e)) < 0 || (r = json_get_uint(o, where, "value", &value, e)) < 0 ||
        (r = json_get_uint(o, where, "valueTwo", &second, e)) < 0 || (r = json_get_string(o, where, "op", true, &op, e)) < 0)
        return r;
    if (index >= MAX_ARGS || rule->nr_args >= MAX_ARGS)
        return error_set(e, 0, "%s: there are %d arguments at most", where, MAX_ARGS);
    for (size_t i = 1; i < ARRAY_SIZE(ops); i++) {
        if (!ops[i] || strcmp(ops[i], op) != 0)
            continue;
        for (unsigned int j = 0; j < rule->nr_args; j++)
            rule->same_arg_twice |= rule->args[j].arg == index;
        *a = (struct scmp_arg_cmp){.arg = (unsigned int)index, .op = (enum scmp_compare)i, .datum_a = value, .datum_b = second};
        rule->nr_args++;
        return 0;
    }
    return error_set(e, 0, "%s.op: \"%s\" is unknown", where, op);
}

static int add_call(struct compiler *c, const char *name, const struct rule *rule, struct error *e)
{
    int nr = seccomp_syscall_resolve_name(name), r = 0;

    /* Calls of other architectures, and ones that libseccomp has not heard of: runc leaves them out, too. */
    if (nr < 0)
        return 0;
    if (nr > c->highest)
        c->highest = nr;
    if (rule->action == c->fallback)
        return 0;
    if (!rule->same_arg_twice)
        r = seccomp_rule_add_array(c->ctx, rule->action, nr, rule->nr_args, rule->args);
    for (unsigned int i = 0; r == 0 && rule->same_arg_twice && i < rule->nr_args; i++)
        r = seccomp_rule_add_array(c->ctx, rule->action, nr, 1, &rule->args[i]);
    return r < 0 && r != -EEXIST ? error_set(e, -r, "linux.seccomp: %s", name) : 0;
}

static int add_rule(struct compiler *c, struct json_object *o, struct error *e)
{
    static const char where[] = "linux.seccomp.syscalls";
    struct json_object *args = NULL;
    const char **names = NULL;
    struct rule rule = {0};
    int r;

    if (!json_object_is_type(o, json_type_object))
        return error_set(e, 0, "%s: not an object", where);
    if ((r = json_get_strings(o, where, "names", true, &names, e)) < 0 ||
        (r = get_action(o, where, "action", "errnoRet", &rule.action, e)) < 0 ||
        (r = json_get_array(o, where, "args", false, &args, e)) < 0)
        goto out;
    for (size_t i = 0; args && r == 0 && i < json_object_array_length(args); i++)
        r = parse_arg(json_object_array_get_idx(args, i), &rule, e);
    for (const char **n = names; r == 0 && *n; n++)
        r = add_call(c, *n, &rule, e);
out:
    free(names);
    return r;
}

/*
 * The program. Before it, where the fallback is an error: a call that is newer than all that the profile knows does not exist,
 * so that programs use the older one instead of giving up.
 */
static int export(struct compiler *c, bool newer_is_enosys, struct container_spec *s, struct error *e)
{
    const struct sock_filter prefix[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* the number */
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)c->highest, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SCMP_ACT_ERRNO(ENOSYS)),
    };
    size_t head = newer_is_enosys && c->highest > 0 ? ARRAY_SIZE(prefix) : 0, size = 0;
    int fd = memfd_create("seccomp", MFD_CLOEXEC), r = fd < 0 ? -errno : seccomp_export_bpf(c->ctx, fd);
    struct sock_filter *insns = NULL;
    struct stat st;

    if (r == 0 && fstat(fd, &st) < 0)
        r = -errno;
    if (r == 0) {
        size = (size_t)st.st_size;
        insns = malloc(sizeof(prefix) + size);
        if (!insns || pread(fd, insns + head, size, 0) != (ssize_t)size)
            r = -ENOMEM;
    }
    if (fd >= 0)
        close(fd);
    if (r < 0) {
        free(insns);
        return error_set(e, -r, "linux.seccomp");
    }
    memcpy(insns, prefix, head * sizeof(*insns));
    s->seccomp = insns;
    s->nr_seccomp = head + size / sizeof(*insns);
    return 0;
}

int oci_parse_seccomp(struct bundle *b, struct json_object *linux_obj, struct error *e)
{
    struct compiler c = {.highest = -1};
    struct json_object *o = NULL, *list = NULL;
    const char *listener = NULL;
    bool newer_is_enosys;
    int r = json_get_object(linux_obj, "linux", "seccomp", false, &o, e);

    if (r < 0 || !o)
        return r;
    if ((r = get_action(o, "linux.seccomp", "defaultAction", "defaultErrnoRet", &c.fallback, e)) < 0 ||
        (r = json_get_string(o, "linux.seccomp", "listenerPath", false, &listener, e)) < 0 ||
        (r = json_get_array(o, "linux.seccomp", "syscalls", false, &list, e)) < 0)
        return r;
    newer_is_enosys = c.fallback == SCMP_ACT_ERRNO(EPERM) && !json_object_object_get_ex(o, "defaultErrnoRet", NULL);
    c.ctx = seccomp_init(c.fallback);
    if (!c.ctx)
        return error_set(e, ENOMEM, "linux.seccomp");
    /* A balanced tree is quicker to make and to run than the list of all calls. */
    seccomp_attr_set(c.ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; r == 0 && list && i < json_object_array_length(list); i++)
        r = add_rule(&c, json_object_array_get_idx(list, i), e);
    if (r == 0)
        r = export(&c, newer_is_enosys, &b->spec, e);
    seccomp_release(c.ctx);
    return r;
}
