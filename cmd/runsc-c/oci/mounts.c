/* The "mounts" array of a config: mount(8)-like options become flags, the rest is the filesystem's. */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

/* `recursive`: there is one with an "r" before its name as well, which is for all mounts of a tree: here, trees have one mount.
 */
static const struct {
    const char *name;
    unsigned long set, clear;
    bool recursive;
} mount_flags[] = {
    {"async", 0, MS_SYNCHRONOUS, false},
    {"atime", 0, MS_NOATIME, true},
    {"defaults", 0, 0, false},
    {"dev", 0, MS_NODEV, true},
    {"diratime", 0, MS_NODIRATIME, true},
    {"dirsync", MS_DIRSYNC, 0, false},
    {"exec", 0, MS_NOEXEC, true},
    {"iversion", 0, 0, false},
    {"lazytime", 0, 0, false},
    {"loud", 0, MS_SILENT, false},
    {"mand", 0, 0, false},
    {"noatime", MS_NOATIME, 0, true},
    {"nodev", MS_NODEV, 0, true},
    {"nodiratime", MS_NODIRATIME, 0, true},
    {"noexec", MS_NOEXEC, 0, true},
    {"noiversion", 0, 0, false},
    {"nolazytime", 0, 0, false},
    {"nomand", 0, 0, false},
    {"norelatime", 0, MS_RELATIME, true},
    {"nostrictatime", 0, MS_STRICTATIME, true},
    {"nosuid", MS_NOSUID, 0, true},
    {"nosymfollow", MS_NOSYMFOLLOW, 0, true},
    {"relatime", MS_RELATIME, 0, true},
    {"ro", MS_RDONLY, 0, true},
    {"rw", 0, MS_RDONLY, true},
    {"silent", MS_SILENT, 0, false},
    {"strictatime", MS_STRICTATIME, 0, true},
    {"suid", 0, MS_NOSUID, true},
    {"symfollow", 0, MS_NOSYMFOLLOW, true},
    {"sync", MS_SYNCHRONOUS, 0, false},
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

/* What is no flag, and which member it sets. */
static const struct {
    const char *name;
    size_t member, recursive; /* the second one, too, if it is not 0 */
} other_options[] = {
    {"bind", offsetof(struct spec_mount, bind), 0},
    {"rbind", offsetof(struct spec_mount, bind), offsetof(struct spec_mount, recursive)},
    {"idmap", offsetof(struct spec_mount, idmap), 0},
    {"ridmap", offsetof(struct spec_mount, idmap), offsetof(struct spec_mount, idmap_recursive)},
    {"remount", offsetof(struct spec_mount, remount), 0},
    {"tmpcopyup", offsetof(struct spec_mount, copy_up), 0},
};

const char *mount_option_name(size_t i)
{
    static char name[24];

    if (i < ARRAY_SIZE(mount_flags))
        return mount_flags[i].name;
    i -= ARRAY_SIZE(mount_flags);
    if (i < ARRAY_SIZE(propagations))
        return propagations[i].name;
    i -= ARRAY_SIZE(propagations);
    if (i < ARRAY_SIZE(other_options))
        return other_options[i].name;
    i -= ARRAY_SIZE(other_options);
    for (size_t k = 0; k < ARRAY_SIZE(mount_flags); k++)
        if (mount_flags[k].recursive && i-- == 0) {
            snprintf(name, sizeof(name), "r%s", mount_flags[k].name);
            return name;
        }
    return NULL;
}

static void set_member(struct spec_mount *m, size_t offset)
{
    *(bool *)((char *)m + offset) = true;
}

static bool mount_option(struct spec_mount *m, const char *opt)
{
    for (size_t i = 0; i < ARRAY_SIZE(other_options); i++)
        if (strcmp(other_options[i].name, opt) == 0) {
            set_member(m, other_options[i].member);
            if (other_options[i].recursive)
                set_member(m, other_options[i].recursive);
            return true;
        }
    for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
        if (strcmp(propagations[i].name, opt) == 0) {
            m->propagation = propagations[i].type;
            return true;
        }
    for (size_t i = 0; i < ARRAY_SIZE(mount_flags); i++)
        if (strcmp(mount_flags[i].name, opt) == 0 ||
            (mount_flags[i].recursive && opt[0] == 'r' && strcmp(mount_flags[i].name, opt + 1) == 0)) {
            m->flags = (m->flags & ~mount_flags[i].clear) | mount_flags[i].set;
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

/* Ids of the mount: its own map, or the container's. */
static int parse_idmap(const struct bundle *b, struct json_object *o, struct spec_mount *m, struct error *e)
{
    int r;

    if ((r = oci_parse_idmap(o, "mounts", "uidMappings", &m->uid_maps, &m->nr_uid_maps, e)) < 0 ||
        (r = oci_parse_idmap(o, "mounts", "gidMappings", &m->gid_maps, &m->nr_gid_maps, e)) < 0)
        return r;
    if (!m->nr_uid_maps != !m->nr_gid_maps)
        return error_set(e, 0, "mounts: %s: uidMappings and gidMappings go together", m->destination);
    if (m->idmap && !m->nr_uid_maps) {
        m->uid_maps = b->spec.uid_maps;
        m->nr_uid_maps = b->spec.nr_uid_maps;
        m->gid_maps = b->spec.gid_maps;
        m->nr_gid_maps = b->spec.nr_gid_maps;
        if (!m->nr_uid_maps || !m->nr_gid_maps)
            return error_set(e, 0, "mounts: %s: idmap without mappings, and the container has none", m->destination);
    }
    return m->nr_uid_maps && !m->bind ? error_set(e, 0, "mounts: %s: ids can be mapped of bind mounts only", m->destination)
                                      : 0;
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
    if (!m->remount && (r = parse_idmap(b, o, m, e)) < 0)
        return r;
    if (m->remount)
        m->bind = false;
    if (!m->bind) {
        if (!m->type[0] && !m->remount)
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
