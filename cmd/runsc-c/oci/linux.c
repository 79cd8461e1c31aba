/* Parts of "linux" in a config: sysctls, device nodes, personality, and what a sandbox has no use for. */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/stat.h>

static int parse_sysctls(struct container_spec *s, struct json_object *o, struct error *e)
{
    struct json_object *map = NULL;
    struct spec_sysctl *list;
    int r = json_get_object(o, "linux", "sysctl", false, &map, e);

    if (r < 0 || !map)
        return r;
    list = calloc((size_t)json_object_object_length(map) + 1, sizeof(*list));
    if (!list)
        return error_set(e, ENOMEM, "linux.sysctl");
    s->sysctls = list;
    json_object_object_foreach(map, key, value)
    {
        if (!json_object_is_type(value, json_type_string))
            return error_set(e, 0, "linux.sysctl.%s is not a string", key);
        list[s->nr_sysctls++] = (struct spec_sysctl){key, json_object_get_string(value)};
    }
    return 0;
}

static int parse_device(struct json_object *o, struct spec_device *d, struct error *e)
{
    static const char where[] = "linux.devices";
    int64_t major = 0, minor = 0, mode = 0666, uid = 0, gid = 0;
    const char *type = NULL;
    int r;

    if (!json_object_is_type(o, json_type_object))
        return error_set(e, 0, "%s: not an object", where);
    if ((r = json_get_string(o, where, "path", true, &d->path, e)) < 0 ||
        (r = json_get_string(o, where, "type", true, &type, e)) < 0 ||
        (r = json_get_int(o, where, "major", 0, (1 << 12) - 1, &major, e)) < 0 ||
        (r = json_get_int(o, where, "minor", 0, (1 << 20) - 1, &minor, e)) < 0 ||
        (r = json_get_int(o, where, "fileMode", 0, UINT32_MAX, &mode, e)) < 0 ||
        (r = json_get_int(o, where, "uid", 0, UINT32_MAX - 1, &uid, e)) < 0 ||
        (r = json_get_int(o, where, "gid", 0, UINT32_MAX - 1, &gid, e)) < 0)
        return r;
    if (d->path[0] != '/')
        return error_set(e, 0, "%s.path: \"%s\" is not an absolute path", where, d->path);
    if (strcmp(type, "c") != 0 && strcmp(type, "u") != 0 && strcmp(type, "b") != 0 && strcmp(type, "p") != 0)
        return error_set(e, 0, "%s.type: \"%s\" is unknown", where, type);
    d->mode = (uint32_t)(mode & 07777) | (type[0] == 'b' ? S_IFBLK : type[0] == 'p' ? S_IFIFO : S_IFCHR);
    d->major = (uint32_t)major;
    d->minor = (uint32_t)minor;
    d->uid = (uid_t)uid;
    d->gid = (gid_t)gid;
    return 0;
}

static int parse_devices(struct container_spec *s, struct json_object *o, struct error *e)
{
    struct json_object *list = NULL;
    struct spec_device *devices;
    int r = json_get_array(o, "linux", "devices", false, &list, e);
    size_t n;

    if (r < 0 || !list)
        return r;
    n = json_object_array_length(list);
    devices = calloc(n + 1, sizeof(*devices));
    if (!devices)
        return error_set(e, ENOMEM, "linux.devices");
    s->devices = devices;
    for (; r == 0 && s->nr_devices < n; s->nr_devices++)
        r = parse_device(json_object_array_get_idx(list, s->nr_devices), &devices[s->nr_devices], e);
    return r;
}

static int parse_personality(struct container_spec *s, struct json_object *o, struct error *e)
{
    struct json_object *p = NULL;
    const char *domain = NULL, **flags = NULL;
    int r = json_get_object(o, "linux", "personality", false, &p, e);

    if (r < 0 || !p)
        return r;
    if ((r = json_get_string(p, "linux.personality", "domain", true, &domain, e)) < 0 ||
        (r = json_get_strings(p, "linux.personality", "flags", false, &flags, e)) < 0)
        return r;
    if (flags && flags[0]) /* the spec has none */
        return error_set(e, ENOTSUP, "linux.personality.flags: %s", flags[0]);
    free(flags);
    if (strcmp(domain, "LINUX") == 0)
        s->process.personality = PER_LINUX;
    else if (strcmp(domain, "LINUX32") == 0)
        s->process.personality = PER_LINUX32;
    else
        return error_set(e, 0, "linux.personality.domain: \"%s\" is unknown", domain);
    return 0;
}

/*
 * Memory policies are for nodes of the host's memory, which guests do not see. Caches of the host's processor are not there to
 * be divided among containers. Labels of the host's security modules (mountLabel, process.selinuxLabel,
 * process.apparmorProfile) are accepted without an effect: they confine what calls a process may make of the host's kernel, and
 * the guest makes none.
 */
static int refuse_others(struct json_object *o, struct error *e)
{
    static const char *const names[] = {"intelRdt", "memoryPolicy", "netDevices"};
    const char *label = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct json_object *v = NULL;
        int r = json_get_object(o, "linux", names[i], false, &v, e);

        if (r < 0)
            return r;
        if (v && json_object_object_length(v) > 0)
            return error_set(e, ENOTSUP, "linux.%s", names[i]);
    }
    return json_get_string(o, "linux", "mountLabel", false, &label, e);
}

int oci_parse_linux(struct bundle *b, struct json_object *o, struct error *e)
{
    int r;

    if ((r = parse_sysctls(&b->spec, o, e)) < 0 || (r = parse_devices(&b->spec, o, e)) < 0 ||
        (r = parse_personality(&b->spec, o, e)) < 0 || (r = oci_parse_user_namespace(&b->spec, o, e)) < 0 ||
        (r = refuse_others(o, e)) < 0)
        return r;
    return oci_parse_seccomp(b, o, e);
}
