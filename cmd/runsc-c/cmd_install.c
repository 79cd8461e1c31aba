/*
 * install and uninstall: an entry in Docker's daemon.json. The new file takes the old one's place at once, keeps all else that
 * is in it, its mode and owner, and a file that is not JSON is left alone.
 */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct install_opts {
    const char *runtime, *config;
};

#define DEFAULT_CONFIG "/etc/docker/daemon.json"

static const char *config_path(const struct install_opts *o)
{
    return o->config ? o->config : DEFAULT_CONFIG;
}

/* The file, or an empty object if there is none. */
static int load_config(const char *path, struct json_object **doc, struct error *e)
{
    struct stat st;

    if (stat(path, &st) == 0 && st.st_size > 0)
        return json_load(AT_FDCWD, path, doc, e);
    *doc = json_object_new_object();
    return 0;
}

/* By way of a new file beside it. A symlink stays one: what it leads to is replaced. */
static int save_config(const char *name, struct json_object *doc, struct error *e)
{
    char path[PATH_MAX], tmp[PATH_MAX + 16], dir[PATH_MAX];
    struct stat st = {.st_mode = 0644};
    int fd, dir_fd, r = 0;

    if (!realpath(name, path))
        snprintf(path, sizeof(path), "%s", name);
    snprintf(dir, sizeof(dir), "%s", path);
    dirname(dir);
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return error_set(e, errno, "mkdir %s", dir);
    snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path);
    fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0)
        return error_set(e, errno, "%s", tmp);
    if (stat(path, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
        r = error_set(e, errno, "%s", tmp);
    if (r == 0 && (fchmod(fd, st.st_mode & 07777) < 0 ||
                   dprintf(fd, "%s\n",
                           json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                                   JSON_C_TO_STRING_NOSLASHESCAPE)) < 0 ||
                   fsync(fd) < 0 || rename(tmp, path) < 0))
        r = error_set(e, errno, "%s", path);
    if (r < 0)
        unlink(tmp);
    close(fd);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd >= 0) {
        fsync(dir_fd);
        close(dir_fd);
    }
    return r;
}

static int cmd_install(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct install_opts *o = opts;
    const char *path = config_path(o), *name = o->runtime ? o->runtime : "runsc-c";
    struct json_object *doc = NULL, *runtimes = NULL, *entry, *args;
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    int r;

    if (n < 0)
        return error_set(e, errno, "/proc/self/exe");
    exe[n] = '\0';
    if ((r = load_config(path, &doc, e)) < 0 || (r = json_get_object(doc, "", "runtimes", false, &runtimes, e)) < 0)
        return error_prefix(e, r, "%s is left as it is", path);
    if (!runtimes) {
        runtimes = json_object_new_object();
        json_object_object_add(doc, "runtimes", runtimes);
    }
    entry = json_object_new_object();
    json_object_object_add(entry, "path", json_object_new_string(exe));
    if (argc > 0) {
        args = json_object_new_array();
        for (int i = 0; i < argc; i++)
            json_object_array_add(args, json_object_new_string(argv[i]));
        json_object_object_add(entry, "runtimeArgs", args);
    }
    json_object_object_add(runtimes, name, entry);
    r = save_config(path, doc, e);
    json_object_put(doc);
    if (r == 0)
        printf("Docker's %s has the runtime \"%s\" now; it takes effect when dockerd is reloaded or restarted.\n", path, name);
    return r;
}

static int cmd_uninstall(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct install_opts *o = opts;
    const char *path = config_path(o), *name = o->runtime ? o->runtime : "runsc-c";
    struct json_object *doc = NULL, *runtimes = NULL, *fallback = NULL;
    int r;

    if ((r = load_config(path, &doc, e)) < 0 || (r = json_get_object(doc, "", "runtimes", false, &runtimes, e)) < 0)
        return error_prefix(e, r, "%s is left as it is", path);
    if (!runtimes || !json_object_object_get_ex(runtimes, name, NULL)) {
        json_object_put(doc);
        return error_set(e, 0, "%s has no runtime \"%s\"", path, name);
    }
    json_object_object_del(runtimes, name);
    if (json_object_object_length(runtimes) == 0)
        json_object_object_del(doc, "runtimes");
    /* dockerd does not start with a default that it does not know. */
    if (json_object_object_get_ex(doc, "default-runtime", &fallback) && strcmp(json_object_get_string(fallback), name) == 0)
        json_object_object_del(doc, "default-runtime");
    r = save_config(path, doc, e);
    json_object_put(doc);
    return r;
}

static const struct opt install_opts[] = {
    {"runtime", 0, OPT_STRING, offsetof(struct install_opts, runtime), "NAME", "Docker's name for it (default: runsc-c)"},
    {"config-file", 0, OPT_STRING, offsetof(struct install_opts, config), "FILE", "default: " DEFAULT_CONFIG},
    OPT_END};

const struct command command_install = {
    .name = "install",
    .args = "[-- GLOBAL OPTIONS]",
    .help = "make this program a runtime of Docker, with these global options",
    .opts = install_opts,
    .opts_size = sizeof(struct install_opts),
    .max_args = -1,
    .run = cmd_install,
};

const struct command command_uninstall = {
    .name = "uninstall",
    .args = "",
    .help = "take it out of Docker's configuration",
    .opts = install_opts,
    .opts_size = sizeof(struct install_opts),
    .run = cmd_uninstall,
};
