/* spec: a config.json to begin with, which runs `sh` in ./rootfs. */
#include "cmd/runsc-c/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct spec_opts {
    const char *bundle;
    bool rootless;
};

static const char template[] =
    "{\"ociVersion\": \"" OCI_VERSION "\","
    " \"process\": {\"terminal\": true, \"user\": {\"uid\": 0, \"gid\": 0}, \"args\": [\"sh\"],"
    "  \"env\": [\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\", \"TERM=xterm\"], \"cwd\": \"/\","
    "  \"capabilities\": {\"bounding\": [\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"],"
    "   \"effective\": [\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"],"
    "   \"permitted\": [\"CAP_AUDIT_WRITE\", \"CAP_KILL\", \"CAP_NET_BIND_SERVICE\"]},"
    "  \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"hard\": 1024, \"soft\": 1024}], \"noNewPrivileges\": true},"
    " \"root\": {\"path\": \"rootfs\", \"readonly\": true}, \"hostname\": \"runsc-c\","
    " \"mounts\": [{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"},"
    "  {\"destination\": \"/dev\", \"type\": \"tmpfs\", \"source\": \"tmpfs\","
    "   \"options\": [\"nosuid\", \"strictatime\", \"mode=755\", \"size=65536k\"]},"
    "  {\"destination\": \"/dev/pts\", \"type\": \"devpts\", \"source\": \"devpts\","
    "   \"options\": [\"nosuid\", \"noexec\", \"newinstance\", \"ptmxmode=0666\", \"mode=0620\", \"gid=5\"]},"
    "  {\"destination\": \"/dev/shm\", \"type\": \"tmpfs\", \"source\": \"shm\","
    "   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"mode=1777\", \"size=65536k\"]},"
    "  {\"destination\": \"/dev/mqueue\", \"type\": \"mqueue\", \"source\": \"mqueue\","
    "   \"options\": [\"nosuid\", \"noexec\", \"nodev\"]},"
    "  {\"destination\": \"/sys\", \"type\": \"sysfs\", \"source\": \"sysfs\","
    "   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"ro\"]},"
    "  {\"destination\": \"/sys/fs/cgroup\", \"type\": \"cgroup\", \"source\": \"cgroup\","
    "   \"options\": [\"nosuid\", \"noexec\", \"nodev\", \"relatime\", \"ro\"]}],"
    " \"linux\": {\"namespaces\": [{\"type\": \"pid\"}, {\"type\": \"network\"}, {\"type\": \"ipc\"}, {\"type\": \"uts\"},"
    "   {\"type\": \"mount\"}, {\"type\": \"cgroup\"}],"
    "  \"maskedPaths\": [\"/proc/acpi\", \"/proc/asound\", \"/proc/kcore\", \"/proc/keys\", \"/proc/latency_stats\","
    "   \"/proc/timer_list\", \"/proc/timer_stats\", \"/proc/sched_debug\", \"/sys/firmware\", \"/proc/scsi\"],"
    "  \"readonlyPaths\": [\"/proc/bus\", \"/proc/fs\", \"/proc/irq\", \"/proc/sys\", \"/proc/sysrq-trigger\"]}}";

/* A user namespace in which the caller is root, and no network namespace of its own to be set up by root. */
static void make_rootless(struct json_object *doc)
{
    static const char *const kinds[] = {"uidMappings", "gidMappings"};
    struct json_object *lin, *ns, *kind;

    json_object_object_get_ex(doc, "linux", &lin);
    json_object_object_get_ex(lin, "namespaces", &ns);
    kind = json_object_new_object();
    json_object_object_add(kind, "type", json_object_new_string("user"));
    json_object_array_add(ns, kind);
    for (int i = 0; i < 2; i++) {
        struct json_object *list = json_object_new_array(), *map = json_object_new_object();
        json_object_object_add(map, "containerID", json_object_new_int(0));
        json_object_object_add(map, "hostID", json_object_new_int64(i ? getegid() : geteuid()));
        json_object_object_add(map, "size", json_object_new_int(1));
        json_object_array_add(list, map);
        json_object_object_add(lin, kinds[i], list);
    }
}

static int cmd_spec(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct spec_opts *o = opts;
    struct json_object *doc = json_tokener_parse(template);
    char path[PATH_MAX];
    const char *text;
    int fd, r = 0;

    if (o->rootless)
        make_rootless(doc);
    if (snprintf(path, sizeof(path), "%s/config.json", o->bundle ? o->bundle : ".") >= (int)sizeof(path))
        return error_set(e, ENAMETOOLONG, "--bundle");
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno == EEXIST ? error_set(e, 0, "File %s exists. Remove it first", path) : error_set(e, errno, "%s", path);
    text = json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_PRETTY_TAB | JSON_C_TO_STRING_SPACED |
                                                   JSON_C_TO_STRING_NOSLASHESCAPE);
    if (dprintf(fd, "%s\n", text) < 0)
        r = error_set(e, errno, "%s", path);
    close(fd);
    json_object_put(doc);
    return r;
}

static const struct opt spec_opts[] = {
    {"bundle", 'b', OPT_STRING, offsetof(struct spec_opts, bundle), "DIR",
     "where to write it (default: the current directory)"},
    {"rootless", 0, OPT_FLAG, offsetof(struct spec_opts, rootless), NULL, "for a container of a user without privileges"},
    OPT_END};

const struct command command_spec = {
    .name = "spec",
    .args = "",
    .help = "write a config.json to begin with",
    .opts = spec_opts,
    .opts_size = sizeof(struct spec_opts),
    .run = cmd_spec,
};
