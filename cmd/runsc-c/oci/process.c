/* The "process" object of a config: what runs, as whom, with which limits. */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

static const char *const cap_names[] = {
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
};

static const struct {
    const char *name;
    int resource;
} rlimit_names[] = {
    {"RLIMIT_CPU", RLIMIT_CPU},           {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_DATA", RLIMIT_DATA},         {"RLIMIT_STACK", RLIMIT_STACK},
    {"RLIMIT_CORE", RLIMIT_CORE},         {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_NPROC", RLIMIT_NPROC},       {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},   {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},       {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},     {"RLIMIT_RTTIME", RLIMIT_RTTIME},
};

int cap_by_name(const char *name)
{
    if (strncasecmp(name, "CAP_", 4) == 0)
        name += 4;
    for (size_t i = 0; i < ARRAY_SIZE(cap_names); i++)
        if (strcasecmp(cap_names[i], name) == 0)
            return (int)i;
    return -1;
}

const char *cap_name(int cap)
{
    return cap >= 0 && (size_t)cap < ARRAY_SIZE(cap_names) ? cap_names[cap] : NULL;
}

int rlimit_by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(rlimit_names); i++)
        if (strcmp(rlimit_names[i].name, name) == 0)
            return rlimit_names[i].resource;
    return -1;
}

/* runc drops capabilities that it does not know with a warning; so do we, but silently. */
static int parse_cap_set(struct json_object *caps, const char *key, uint64_t *mask, struct error *e)
{
    const char **names = NULL;
    int r = json_get_strings(caps, "process.capabilities", key, false, &names, e);

    for (size_t i = 0; names && names[i]; i++) {
        int cap = cap_by_name(names[i]);
        if (cap >= 0)
            *mask |= 1ULL << cap;
    }
    free(names);
    return r;
}

static int parse_caps(struct json_object *o, struct spec_caps *caps, struct error *e)
{
    struct json_object *c = NULL;
    int r = json_get_object(o, "process", "capabilities", false, &c, e);

    if (r < 0 || !c)
        return r;
    if ((r = parse_cap_set(c, "bounding", &caps->bounding, e)) < 0 ||
        (r = parse_cap_set(c, "effective", &caps->effective, e)) < 0 ||
        (r = parse_cap_set(c, "inheritable", &caps->inheritable, e)) < 0 ||
        (r = parse_cap_set(c, "permitted", &caps->permitted, e)) < 0)
        return r;
    return parse_cap_set(c, "ambient", &caps->ambient, e);
}

static int parse_rlimits(struct json_object *o, struct spec_process *p, struct error *e)
{
    struct json_object *list = NULL;
    struct spec_rlimit *limits;
    int r = json_get_array(o, "process", "rlimits", false, &list, e);
    size_t n;

    if (r < 0 || !list)
        return r;
    n = json_object_array_length(list);
    limits = calloc(n + 1, sizeof(*limits));
    if (!limits)
        return error_set(e, ENOMEM, "process.rlimits");
    p->rlimits = limits;
    for (size_t i = 0; i < n; i++) {
        struct json_object *l = json_object_array_get_idx(list, i);
        const char *type = NULL;

        if (!json_object_is_type(l, json_type_object))
            return error_set(e, 0, "process.rlimits[%zu] is not an object", i);
        if ((r = json_get_string(l, "process.rlimits", "type", true, &type, e)) < 0 ||
            (r = json_get_uint(l, "process.rlimits", "soft", &limits[i].soft, e)) < 0 ||
            (r = json_get_uint(l, "process.rlimits", "hard", &limits[i].hard, e)) < 0)
            return r;
        limits[i].resource = rlimit_by_name(type);
        if (limits[i].resource < 0)
            return error_set(e, 0, "process.rlimits: unknown limit \"%s\"", type);
        for (size_t j = 0; j < i; j++)
            if (limits[j].resource == limits[i].resource)
                return error_set(e, 0, "process.rlimits: %s twice", type);
        if (limits[i].soft > limits[i].hard)
            return error_set(e, 0, "process.rlimits: %s: soft limit above the hard one", type);
    }
    p->nr_rlimits = n;
    return 0;
}

static int parse_user(struct json_object *o, struct spec_process *p, struct error *e)
{
    struct json_object *user = NULL, *groups = NULL;
    int64_t uid = 0, gid = 0;
    gid_t *list;
    int r = json_get_object(o, "process", "user", false, &user, e);

    p->umask = -1;
    if (r < 0 || !user)
        return r;
    if ((r = json_get_int(user, "process.user", "uid", 0, UINT32_MAX - 1, &uid, e)) < 0 ||
        (r = json_get_int(user, "process.user", "gid", 0, UINT32_MAX - 1, &gid, e)) < 0 ||
        (r = json_get_int(user, "process.user", "umask", 0, 0777, &p->umask, e)) < 0 ||
        (r = json_get_array(user, "process.user", "additionalGids", false, &groups, e)) < 0)
        return r;
    p->uid = (uid_t)uid;
    p->gid = (gid_t)gid;
    if (!groups)
        return 0;
    p->nr_groups = json_object_array_length(groups);
    list = calloc(p->nr_groups + 1, sizeof(*list));
    if (!list)
        return error_set(e, ENOMEM, "process.user.additionalGids");
    p->groups = list;
    for (size_t i = 0; i < p->nr_groups; i++) {
        struct json_object *g = json_object_array_get_idx(groups, i);
        if (!json_object_is_type(g, json_type_int) || json_object_get_int64(g) < 0 || json_object_get_int64(g) > UINT32_MAX - 1)
            return error_set(e, 0, "process.user.additionalGids[%zu] is not a group", i);
        list[i] = (gid_t)json_object_get_int64(g);
    }
    return 0;
}

static int find_name(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (names[i] && strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

static int parse_io_priority(struct json_object *o, struct spec_process *p, struct error *e)
{
    static const char *const classes[] = {"IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"};
    struct json_object *io = NULL;
    const char *name = NULL;
    int64_t priority = 0;
    int r = json_get_object(o, "process", "ioPriority", false, &io, e), class;

    if (r < 0 || !io)
        return r;
    if ((r = json_get_string(io, "process.ioPriority", "class", true, &name, e)) < 0 ||
        (r = json_get_int(io, "process.ioPriority", "priority", 0, 7, &priority, e)) < 0)
        return r;
    class = find_name(classes, ARRAY_SIZE(classes), name);
    if (class < 1)
        return error_set(e, 0, "process.ioPriority.class: \"%s\" is unknown", name);
    p->ioprio = IOPRIO_PRIO_VALUE(class, (int)priority);
    return 0;
}

static int parse_scheduler(struct json_object *o, struct spec_process *p, struct error *e)
{
    static const char *const policies[] = {
        [SCHED_OTHER] = "SCHED_OTHER", [SCHED_FIFO] = "SCHED_FIFO", [SCHED_RR] = "SCHED_RR",
        [SCHED_BATCH] = "SCHED_BATCH", [SCHED_IDLE] = "SCHED_IDLE",
    };
    struct json_object *sched = NULL;
    const char *policy = NULL, **flags = NULL;
    int64_t nice = 0, priority = 0;
    int r = json_get_object(o, "process", "scheduler", false, &sched, e);
    bool realtime;

    if (r < 0 || !sched)
        return r;
    if ((r = json_get_string(sched, "process.scheduler", "policy", true, &policy, e)) < 0 ||
        (r = json_get_int(sched, "process.scheduler", "nice", -20, 19, &nice, e)) < 0 ||
        (r = json_get_int(sched, "process.scheduler", "priority", 0, 99, &priority, e)) < 0 ||
        (r = json_get_strings(sched, "process.scheduler", "flags", false, &flags, e)) < 0)
        return r;
    p->sched_policy = find_name(policies, ARRAY_SIZE(policies), policy);
    if (p->sched_policy < 0)
        return error_set(e, 0, "process.scheduler.policy: \"%s\" is unknown or not supported", policy);
    realtime = p->sched_policy == SCHED_FIFO || p->sched_policy == SCHED_RR;
    if (realtime != (priority > 0))
        return error_set(e, 0, "process.scheduler.priority: %s has %s", policy, realtime ? "one of 1 to 99" : "none");
    for (const char **f = flags; f && *f; f++) {
        if (strcmp(*f, "SCHED_FLAG_RESET_ON_FORK") != 0)
            return error_set(e, ENOTSUP, "process.scheduler.flags: %s", *f);
        p->sched_policy |= SCHED_RESET_ON_FORK;
    }
    free(flags);
    p->nice = (int)nice;
    p->sched_priority = (int)priority;
    return 0;
}

/* Of the host's security modules; see oci/linux.c. */
static int check_labels(struct json_object *o, struct error *e)
{
    const char *label = NULL;
    int r = json_get_string(o, "process", "apparmorProfile", false, &label, e);

    return r < 0 ? r : json_get_string(o, "process", "selinuxLabel", false, &label, e);
}

/* "0-3,7" */
static bool parse_cpus(const char *s, uint64_t mask[SPEC_CPU_WORDS])
{
    do {
        char *end;
        unsigned long first = strtoul(s, &end, 10), last = first;

        if (end == s || *s < '0' || *s > '9')
            return false;
        if (*end == '-') {
            s = end + 1;
            last = strtoul(s, &end, 10);
            if (end == s || *s < '0' || *s > '9')
                return false;
        }
        if (first > last || last >= 64 * SPEC_CPU_WORDS)
            return false;
        for (unsigned long i = first; i <= last; i++)
            mask[i / 64] |= 1ULL << (i % 64);
        s = end + 1;
        if (*end == '\0')
            return true;
        if (*end != ',')
            return false;
    } while (true);
}

/* Where the runtime itself runs at first ("initial") makes no difference: the sentry is there already, in its cgroup. */
static int parse_affinity(struct json_object *o, struct spec_process *p, struct error *e)
{
    static const char *const keys[] = {"initial", "final"};
    struct json_object *a = NULL;
    int r = json_get_object(o, "process", "execCPUAffinity", false, &a, e);

    for (size_t i = 0; r == 0 && a && i < ARRAY_SIZE(keys); i++) {
        uint64_t mask[SPEC_CPU_WORDS] = {0};
        const char *list = NULL;

        r = json_get_string(a, "process.execCPUAffinity", keys[i], false, &list, e);
        if (r < 0 || !list || !list[0])
            continue;
        if (!parse_cpus(list, mask))
            return error_set(e, 0, "process.execCPUAffinity.%s: \"%s\" is no list of CPUs", keys[i], list);
        if (i == 1) {
            p->bound = true;
            memcpy(p->cpus, mask, sizeof(mask));
        }
    }
    return r;
}

int oci_parse_process(struct json_object *o, struct spec_process *p, struct error *e)
{
    struct json_object *size = NULL;
    int64_t rows = 0, cols = 0, oom = 0;
    int r;

    *p = (struct spec_process){.cwd = "/"};
    if ((r = json_get_strings(o, "process", "args", true, &p->argv, e)) < 0 ||
        (r = json_get_strings(o, "process", "env", false, &p->envp, e)) < 0 ||
        (r = json_get_string(o, "process", "cwd", true, &p->cwd, e)) < 0 ||
        (r = json_get_bool(o, "process", "terminal", &p->terminal, e)) < 0 ||
        (r = json_get_bool(o, "process", "noNewPrivileges", &p->no_new_privs, e)) < 0 ||
        (r = json_get_int(o, "process", "oomScoreAdj", -1000, 1000, &oom, e)) < 0 ||
        (r = json_get_object(o, "process", "consoleSize", false, &size, e)) < 0)
        return r;
    if (!p->argv[0])
        return error_set(e, 0, "process.args is empty");
    if (p->cwd[0] != '/')
        return error_set(e, 0, "process.cwd: \"%s\" is not an absolute path", p->cwd);
    if (size && ((r = json_get_int(size, "process.consoleSize", "height", 0, USHRT_MAX, &rows, e)) < 0 ||
                 (r = json_get_int(size, "process.consoleSize", "width", 0, USHRT_MAX, &cols, e)) < 0))
        return r;
    p->rows = (unsigned short)rows;
    p->cols = (unsigned short)cols;
    p->oom_score_adj = (int)oom;
    if (!p->envp) {
        p->envp = calloc(1, sizeof(*p->envp));
        if (!p->envp)
            return error_set(e, ENOMEM, "process.env");
    }
    if ((r = parse_user(o, p, e)) < 0 || (r = parse_caps(o, &p->caps, e)) < 0 || (r = parse_io_priority(o, p, e)) < 0 ||
        (r = parse_scheduler(o, p, e)) < 0 || (r = parse_affinity(o, p, e)) < 0 || (r = check_labels(o, e)) < 0)
        return r;
    return parse_rlimits(o, p, e);
}

int bundle_load_process(const char *path, struct spec_process *out, struct error *e)
{
    struct json_object *doc;
    int r = json_load(AT_FDCWD, path, &doc, e);

    /* The document stays: the result points into it. */
    return r < 0 ? r : oci_parse_process(doc, out, e);
}
