/* The top level of config.json. What the sandbox cannot do yet is refused by name rather than ignored. */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int parse_root(struct bundle *b, struct error *e)
{
    struct json_object *root = NULL;
    const char *path = NULL;
    char *abs;
    int r;

    if ((r = json_get_object(b->doc, "", "root", true, &root, e)) < 0 ||
        (r = json_get_string(root, "root", "path", true, &path, e)) < 0 ||
        (r = json_get_bool(root, "root", "readonly", &b->spec.root_readonly, e)) < 0)
        return r;
    b->spec.root_fd = openat(b->dir_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (b->spec.root_fd < 0)
        return error_set(e, errno, "root file system %s", path);
    if (path[0] == '/')
        b->rootfs = path;
    else if (asprintf(&abs, "%s/%s", b->path, path) >= 0)
        b->rootfs = abs;
    else
        return error_set(e, ENOMEM, "root.path");
    b->spec.root_path = b->rootfs;
    return 0;
}

static int parse_propagation(const char *name, unsigned long *out, struct error *e)
{
    static const struct {
        const char *name;
        unsigned long flags;
    } known[] = {{"shared", MS_SHARED},   {"rshared", MS_SHARED},   {"slave", MS_SLAVE},          {"rslave", MS_SLAVE},
                 {"private", MS_PRIVATE}, {"rprivate", MS_PRIVATE}, {"unbindable", MS_UNBINDABLE}};

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(known[i].name, name) == 0) {
            *out = known[i].flags;
            return 0;
        }
    return error_set(e, 0, "linux.rootfsPropagation: \"%s\" is unknown", name);
}

/* What the sentry keeps by itself, besides the host's cgroup; -1 and 0 are no limits. */
static int parse_resources(struct json_object *linux_obj, struct bundle *b, struct error *e)
{
    struct json_object *res = NULL;
    int r = json_get_object(linux_obj, "linux", "resources", false, &res, e);

    if (r < 0 || !res)
        return r;
    r = resources_parse(res, &b->resources, e);
    if (r < 0)
        return r;
    b->spec.memory_limit = b->resources.memory > 0 ? (uint64_t)b->resources.memory : 0;
    resources_limits(&b->resources, &b->spec.limits);
    b->spec.pids_limit = b->resources.pids > 0 ? (uint64_t)b->resources.pids : 0;
    return 0;
}

static int check_absolute(const char *where, const char **paths, struct error *e)
{
    for (; paths && *paths; paths++)
        if ((*paths)[0] != '/')
            return error_set(e, 0, "%s: \"%s\" is not an absolute path", where, *paths);
    return 0;
}

static int parse_linux(struct bundle *b, struct error *e)
{
    struct json_object *o = NULL;
    const char *propagation = NULL;
    int r;

    if ((r = json_get_object(b->doc, "", "linux", false, &o, e)) < 0 || !o)
        return r;
    if ((r = json_get_strings(o, "linux", "maskedPaths", false, &b->spec.masked_paths, e)) < 0 ||
        (r = json_get_strings(o, "linux", "readonlyPaths", false, &b->spec.readonly_paths, e)) < 0 ||
        (r = json_get_string(o, "linux", "cgroupsPath", false, &b->cgroups_path, e)) < 0 ||
        (r = json_get_string(o, "linux", "rootfsPropagation", false, &propagation, e)) < 0)
        return r;
    if ((r = check_absolute("linux.maskedPaths", b->spec.masked_paths, e)) < 0 ||
        (r = check_absolute("linux.readonlyPaths", b->spec.readonly_paths, e)) < 0)
        return r;
    if (propagation && propagation[0] && (r = parse_propagation(propagation, &b->spec.root_propagation, e)) < 0)
        return r;
    if ((r = oci_parse_namespaces(o, &b->spec, e)) < 0)
        return r;
    r = parse_resources(o, b, e);
    return r < 0 ? r : oci_parse_linux(b, o, e);
}

/* Those that run inside: the sentry's business. */
static int start_hooks(struct bundle *b, struct error *e)
{
    const struct hook_list *l = &b->hooks.of[HOOK_START_CONTAINER];
    struct spec_hook *list;

    if (l->n == 0)
        return 0;
    list = calloc(l->n, sizeof(*list));
    if (!list)
        return error_set(e, ENOMEM, "hooks");
    for (size_t i = 0; i < l->n; i++)
        list[i] = (struct spec_hook){l->v[i].path, l->v[i].args, l->v[i].env, l->v[i].timeout};
    b->spec.start_hooks = list;
    b->spec.nr_start_hooks = l->n;
    b->spec.process.held = true;
    return 0;
}

static int parse_hooks(struct bundle *b, struct error *e)
{
    int r = json_get_object(b->doc, "", "hooks", false, &b->hooks_doc, e);

    if (r < 0 || (r = hooks_parse(b->hooks_doc, &b->hooks, e)) < 0)
        return r;
    return start_hooks(b, e);
}

/* Of the container's caller; they are strings. Those of ours are flags, see annotations.c. */
static int parse_annotations(struct bundle *b, struct error *e)
{
    int r = json_get_object(b->doc, "", "annotations", false, &b->annotations, e);

    if (r < 0 || !b->annotations)
        return r;
    json_object_object_foreach(b->annotations, key, value)
    {
        if (!json_object_is_type(value, json_type_string))
            return error_set(e, 0, "annotations.%s is not a string", key);
        if (!key[0])
            return error_set(e, 0, "annotations: an empty key");
    }
    return 0;
}

int oci_parse_config(struct bundle *b, struct error *e)
{
    unsigned int major, minor, patch;
    int end = 0;
    const char *version = NULL;
    struct json_object *process = NULL;
    int r;

    resources_init(&b->resources);
    if ((r = json_get_string(b->doc, "", "ociVersion", true, &version, e)) < 0 ||
        (r = json_get_string(b->doc, "", "hostname", false, &b->spec.hostname, e)) < 0 ||
        (r = json_get_string(b->doc, "", "domainname", false, &b->spec.domainname, e)) < 0)
        return r;
    if (sscanf(version, "%u.%u.%u%n", &major, &minor, &patch, &end) != 3 || !strchr("-+", version[end]) || major != 1)
        return error_set(e, 0, "ociVersion: \"%s\" is not 1.MINOR.PATCH", version);
    if (b->spec.hostname && strlen(b->spec.hostname) > 64)
        return error_set(e, ENAMETOOLONG, "hostname");
    if ((r = json_get_object(b->doc, "", "process", true, &process, e)) < 0 ||
        (r = oci_parse_process(process, &b->spec.process, e)) < 0 || (r = parse_root(b, e)) < 0 ||
        (r = parse_linux(b, e)) < 0 || (r = oci_parse_mounts(b, b->doc, e)) < 0 || (r = parse_annotations(b, e)) < 0)
        return r;
    b->spec.process.bound = false; /* execCPUAffinity is for what comes after init */
    return parse_hooks(b, e);
}

int bundle_load(const char *dir, struct bundle *b, struct error *e)
{
    int r;

    *b = (struct bundle){.spec = {.root_fd = -1}};
    b->path = realpath(dir, NULL);
    if (!b->path)
        return error_set(e, errno, "bundle %s", dir);
    b->dir_fd = open(b->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (b->dir_fd < 0)
        return error_set(e, errno, "bundle %s", dir);
    r = json_load(b->dir_fd, "config.json", &b->doc, e);
    if (r == 0) {
        r = oci_parse_config(b, e);
        if (r < 0)
            error_prefix(e, r, "config.json");
    }
    return r < 0 ? error_prefix(e, r, "bundle %s", dir) : 0;
}
