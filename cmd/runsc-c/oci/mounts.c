/* The "mounts" array of a config: mount(8)-like options become flags, the rest is the filesystem's. */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

static const struct {
    const char *name;
    unsigned long set, clear;
} mount_flags[] = {
    {"async", 0, MS_SYNCHRONOUS},
    {"atime", 0, MS_NOATIME},
    {"defaults", 0, 0},
    {"dev", 0, MS_NODEV},
    {"diratime", 0, MS_NODIRATIME},
    {"dirsync", MS_DIRSYNC, 0},
    {"exec", 0, MS_NOEXEC},
    {"iversion", 0, 0},
    {"lazytime", 0, 0},
    {"loud", 0, MS_SILENT},
    {"mand", 0, 0},
    {"noatime", MS_NOATIME, 0},
    {"nodev", MS_NODEV, 0},
    {"nodiratime", MS_NODIRATIME, 0},
    {"noexec", MS_NOEXEC, 0},
    {"noiversion", 0, 0},
    {"nolazytime", 0, 0},
    {"nomand", 0, 0},
    {"norelatime", 0, MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"nosuid", MS_NOSUID, 0},
    {"relatime", MS_RELATIME, 0},
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"silent", MS_SILENT, 0},
    {"strictatime", MS_STRICTATIME, 0},
    {"suid", 0, MS_NOSUID},
    {"sync", MS_SYNCHRONOUS, 0},
};

static const struct {
    const char *name;
    unsigned long type;
} propagations[] = {
    {"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
    {"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
    {"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
    {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

static bool mount_option(struct spec_mount *m, const char *opt)
{
    if (strcmp(opt, "bind") == 0 || strcmp(opt, "rbind") == 0) {
        m->bind = true;
        m->recursive = opt[0] == 'r';
        return true;
    }
    if (strcmp(opt, "tmpcopyup") == 0) {
        m->copy_up = true;
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(mount_flags); i++)
        if (strcmp(mount_flags[i].name, opt) == 0) {
            m->flags = (m->flags & ~mount_flags[i].clear) | mount_flags[i].set;
            return true;
        }
    for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
        if (strcmp(propagations[i].name, opt) == 0) {
            m->propagation = propagations[i].type;
            return true;
        }
    return false;
}

static int parse_options(struct spec_mount *m, const char **options, struct error *e)
{
    size_t len = 1;
    char *data;

    for (size_t i = 0; options && options[i]; i++)
        len += strlen(options[i]) + 1;
    data = calloc(1, len);
    if (!data)
        return error_set(e, ENOMEM, "mounts");
    for (size_t i = 0; options && options[i]; i++) {
        if (mount_option(m, options[i]))
            continue;
        if (data[0])
            strcat(data, ",");
        strcat(data, options[i]);
    }
    m->data = data;
    return 0;
}

static int parse_mount(struct bundle *b, struct json_object *o, struct spec_mount *m, struct error *e)
{
    const char **options = NULL;
    int r;

    m->source_fd = -1;
    m->type = "";
    m->source = "";
    if ((r = json_get_string(o, "mounts", "destination", true, &m->destination, e)) < 0 ||
        (r = json_get_string(o, "mounts", "type", false, &m->type, e)) < 0 ||
        (r = json_get_string(o, "mounts", "source", false, &m->source, e)) < 0 ||
        (r = json_get_strings(o, "mounts", "options", false, &options, e)) < 0)
        return r;
    if (m->destination[0] != '/') {
        /* runc takes a relative one as relative to "/". */
        char *abs = NULL;
        if (asprintf(&abs, "/%s", m->destination) < 0)
            return error_set(e, ENOMEM, "mounts");
        m->destination = abs;
    }
    r = parse_options(m, options, e);
    free(options);
    if (r < 0)
        return r;
    if (strcmp(m->type, "bind") == 0)
        m->bind = true;
    if (m->copy_up && (m->bind || strcmp(m->type, "tmpfs") != 0))
        return error_set(e, 0, "mounts: %s: tmpcopyup is for tmpfs", m->destination);
    if (!m->bind) {
        if (!m->type[0])
            return error_set(e, 0, "mounts: %s has no type", m->destination);
        return 0;
    }
    m->type = "bind";
    if (!m->source[0])
        return error_set(e, 0, "mounts: %s has no source", m->destination);
    m->source_fd = openat(b->dir_fd, m->source, O_PATH | O_CLOEXEC);
    if (m->source_fd < 0)
        return error_set(e, errno, "mounts: %s: source %s", m->destination, m->source);
    return 0;
}

int oci_parse_mounts(struct bundle *b, struct json_object *doc, struct error *e)
{
    struct json_object *list = NULL;
    int r = json_get_array(doc, "", "mounts", false, &list, e);
    size_t n;

    if (r < 0 || !list)
        return r;
    n = json_object_array_length(list);
    b->spec.mounts = calloc(n + 1, sizeof(*b->spec.mounts));
    if (!b->spec.mounts)
        return error_set(e, ENOMEM, "mounts");
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(list, i);
        if (!json_object_is_type(o, json_type_object))
            return error_set(e, 0, "mounts[%zu] is not an object", i);
        r = parse_mount(b, o, &b->spec.mounts[i], e);
        if (r < 0)
            return r;
    }
    b->spec.nr_mounts = n;
    return 0;
}
