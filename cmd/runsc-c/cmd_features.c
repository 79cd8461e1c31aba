/* features: what this runtime understands, as the OCI features document; syscalls: the table of system calls. */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/oci/bundle.h"
#include "sentry/syscalls/syscalls.h"

#include <json-c/json.h>
#include <stdio.h>

static struct json_object *strings(const char *const *list, size_t n)
{
    struct json_object *a = json_object_new_array();

    for (size_t i = 0; i < n; i++)
        json_object_array_add(a, json_object_new_string(list[i]));
    return a;
}

static struct json_object *add_object(struct json_object *o, const char *key)
{
    struct json_object *child = json_object_new_object();

    json_object_object_add(o, key, child);
    return child;
}

static void add_bools(struct json_object *o, const char *const *keys, size_t n, bool value)
{
    for (size_t i = 0; i < n; i++)
        json_object_object_add(o, keys[i], json_object_new_boolean(value));
}

static void add_linux(struct json_object *doc)
{
    static const char *const namespaces[] = {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"};
    static const char *const actions[] = {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                                          "SCMP_ACT_LOG",   "SCMP_ACT_TRACE", "SCMP_ACT_TRAP", "SCMP_ACT_KILL_THREAD"};
    static const char *const operators[] = {"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",       "SCMP_CMP_LE",
                                            "SCMP_CMP_LT", "SCMP_CMP_NE", "SCMP_CMP_MASKED_EQ"};
    static const char *const archs[] = {"SCMP_ARCH_X86_64"};
    static const char *const cgroups[] = {"v1", "v2", "systemd", "systemdUser", "rootless"};
    static const char *const enabled[] = {"enabled"};
    struct json_object *lin = add_object(doc, "linux"), *caps = json_object_new_array(), *o;

    json_object_object_add(lin, "namespaces", strings(namespaces, ARRAY_SIZE(namespaces)));
    for (int i = 0; cap_name(i); i++) {
        char name[40];
        snprintf(name, sizeof(name), "CAP_%s", cap_name(i));
        json_object_array_add(caps, json_object_new_string(name));
    }
    json_object_object_add(lin, "capabilities", caps);
    o = add_object(lin, "cgroup");
    add_bools(o, cgroups, ARRAY_SIZE(cgroups), true);
    o = add_object(lin, "seccomp");
    add_bools(o, enabled, 1, true);
    json_object_object_add(o, "actions", strings(actions, ARRAY_SIZE(actions)));
    json_object_object_add(o, "operators", strings(operators, ARRAY_SIZE(operators)));
    json_object_object_add(o, "archs", strings(archs, ARRAY_SIZE(archs)));
    /* Labels are accepted, and have no effect: see oci/linux.c. */
    add_bools(add_object(lin, "apparmor"), enabled, 1, false);
    add_bools(add_object(lin, "selinux"), enabled, 1, false);
    add_bools(add_object(lin, "intelRdt"), enabled, 1, false);
    add_bools(add_object(lin, "netDevices"), enabled, 1, false);
    add_bools(add_object(add_object(lin, "mountExtensions"), "idmap"), enabled, 1, true);
}

static int cmd_features(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    struct json_object *doc = json_object_new_object(), *hooks = json_object_new_array(), *options = json_object_new_array();
    static const char *const unsafe[] = {"dev.runsc-c."};
    const char *name;

    json_object_object_add(doc, "ociVersionMin", json_object_new_string("1.0.0"));
    json_object_object_add(doc, "ociVersionMax", json_object_new_string(OCI_VERSION));
    for (int k = 0; k < NR_HOOK_KINDS; k++)
        json_object_array_add(hooks, json_object_new_string(hook_kind_name((enum hook_kind)k)));
    json_object_object_add(doc, "hooks", hooks);
    for (size_t i = 0; (name = mount_option_name(i)); i++)
        json_object_array_add(options, json_object_new_string(name));
    json_object_object_add(doc, "mountOptions", options);
    add_linux(doc);
    json_object_object_add(add_object(doc, "annotations"), "org.opencontainers.runsc-c.version",
                           json_object_new_string(RUNSC_C_VERSION));
    /* They set flags of the sandbox; see flags_from_annotations(). */
    json_object_object_add(doc, "potentiallyUnsafeConfigAnnotations", strings(unsafe, ARRAY_SIZE(unsafe)));
    printf("%s\n", json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(doc);
    return 0;
}

const struct command command_features = {
    .name = "features", .args = "", .help = "print what this runtime supports as JSON", .run = cmd_features};

struct syscalls_opts {
    bool markdown;
};

static const char *const support_names[] = {
    [SUPPORT_FULL] = "full",
    [SUPPORT_PARTIAL] = "partial",
    [SUPPORT_NONE] = "none",
};

static int cmd_syscalls(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct syscalls_opts *o = opts;
    unsigned int counts[ARRAY_SIZE(support_names)] = {0};

    for (size_t nr = 0; nr < NR_SYSCALLS; nr++)
        if (syscall_table[nr].name)
            counts[syscall_table[nr].support]++;
    if (o->markdown) {
        printf(
            "# Compatibility\n\nGenerated by `runsc-c syscalls --markdown` from `sentry/syscalls/table.def`.\n\n"
            "*full*: as Linux. *partial*: some flags or cases are refused, with the errno that Linux gives for what it does\n"
            "not support. *none*: ENOSYS, or what a container without the privilege would see.\n\n"
            "%u calls are full, %u partial, %u none.\n\n| number | call | support |\n| ---: | --- | --- |\n",
            counts[SUPPORT_FULL], counts[SUPPORT_PARTIAL], counts[SUPPORT_NONE]);
    }
    for (size_t nr = 0; nr < NR_SYSCALLS; nr++) {
        const struct syscall_desc *d = &syscall_table[nr];
        if (d->name)
            printf(o->markdown ? "| %zu | %s | %s |\n" : "%4zu %-26s %s\n", nr, d->name, support_names[d->support]);
    }
    if (!o->markdown)
        printf("%u full, %u partial, %u none\n", counts[SUPPORT_FULL], counts[SUPPORT_PARTIAL], counts[SUPPORT_NONE]);
    return 0;
}

static const struct opt syscalls_opts[] = {
    {"markdown", 0, OPT_FLAG, offsetof(struct syscalls_opts, markdown), NULL, "as docs/compatibility.md"}, OPT_END};

const struct command command_syscalls = {
    .name = "syscalls",
    .args = "",
    .help = "print the table of system calls and how far each is supported",
    .opts = syscalls_opts,
    .opts_size = sizeof(struct syscalls_opts),
    .run = cmd_syscalls,
};
