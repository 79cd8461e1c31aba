/* run and create: a container from an OCI bundle. */
#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"
#include "cmd/runsc-c/flags.h"
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/sandbox/launch.h"
#include "cmd/runsc-c/state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct run_opts {
    const char *bundle, *pid_file, *console_socket;
    bool detach, no_pivot, no_new_keyring, keep, no_subreaper;
    int preserve_fds;
};

#define O(name, letter, kind, field, value, help)                         \
    {                                                                     \
        name, letter, kind, offsetof(struct run_opts, field), value, help \
    }
#define COMMON_OPTS                                                                                                 \
    O("bundle", 'b', OPT_STRING, bundle, "DIR", "the bundle (default: the current directory)"),                     \
        O("pid-file", 0, OPT_STRING, pid_file, "FILE", "write the sandbox's process id there"),                     \
        O("console-socket", 0, OPT_STRING, console_socket, "PATH", "where to send the terminal's master"),          \
        O("preserve-fds", 0, OPT_INT, preserve_fds, "N", "pass N descriptors, from 3 (and behind $LISTEN_FDS) on"), \
        O("no-pivot", 0, OPT_FLAG, no_pivot, NULL, "accepted for callers of runc"),                                 \
        O("no-new-keyring", 0, OPT_FLAG, no_new_keyring, NULL, "accepted for callers of runc")

static const struct opt create_opts[] = {COMMON_OPTS, OPT_END};
static const struct opt run_opts[] = {
    COMMON_OPTS,
    O("detach", 'd', OPT_FLAG, detach, NULL, "return when the container runs"),
    O("keep", 0, OPT_FLAG, keep, NULL, "do not delete the container when it ends"),
    O("no-subreaper", 0, OPT_FLAG, no_subreaper, NULL, "accepted for callers of runc"),
    OPT_END,
};
#undef O

/* What a failed creation or the end of a container in the foreground leaves, as `delete` removes it. */
static void destroy(struct state_dir *state)
{
    struct container c = {.d = *state};
    struct error e;

    if (container_load(&c, &e) < 0)
        state_remove(state);
    else
        container_destroy(&c);
}

/* What was planned is in state.json before it is made, so that nothing is left whenever we are killed. */
static int make_cgroup(const struct bundle *b, struct launch *l, struct error *e)
{
    int r;

    if (!b->cgroups_path && !resources_any(&b->resources))
        return 0;
    r = cgroup_plan(b->cgroups_path, l->state->id, l->cli->systemd_cgroup, &l->cgroup, e);
    if (r < 0)
        return r;
    if (!l->cgroup)
        return flags_rootless() ? 0 : error_set(e, 0, "no cgroups are mounted on this host");
    l->cgroup->resources = &b->resources;
    l->info.cgroup = cgroup_to_json(l->cgroup);
    l->info.creating = true;
    if ((r = state_save(l->state, &l->info, e)) < 0)
        return r;
    r = cgroup_create(l->cgroup, e);
    if ((r == -EACCES || r == -EPERM || r == -EROFS) && flags_rootless()) {
        if (resources_any(&b->resources))
            fprintf(stderr, "runsc-c: warning: limits of the host's cgroups are not applied: %s\n", e->text);
        l->cgroup = NULL;
        l->info.cgroup = NULL;
        return 0;
    }
    return r < 0 ? r : cgroup_apply(l->cgroup, &b->resources, e);
}

/*
 * The container of a Kubernetes pod that does nothing: engines make it first, to have the pod's namespaces by. Its sandbox
 * leaves the interfaces to that of a container which uses them.
 */
static bool is_pause(struct json_object *annotations)
{
    static const char *const names[] = {"io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"};

    for (size_t i = 0; annotations && i < ARRAY_SIZE(names); i++) {
        struct json_object *v = json_object_object_get(annotations, names[i]);

        if (v && strcmp(json_object_get_string(v), "sandbox") == 0)
            return true;
    }
    return false;
}

static int run_bundle(const struct cli *global, const struct run_opts *o, const char *id, bool detach, bool start,
                      struct error *e)
{
    struct cli flags = *global, *cli = &flags;
    struct state_dir state;
    struct bundle b;
    struct launch l = {
        .cli = cli,
        .state = &state,
        .pid_file = o->pid_file,
        .console_socket = o->console_socket,
        .start = start,
    };
    int r;

    if ((r = donated_find(o->preserve_fds, true, &l.donated, e)) < 0 || (r = state_check_id(id, e)) < 0 ||
        (r = bundle_load(o->bundle ? o->bundle : ".", &b, e)) < 0 || (r = donated_tell(&l.donated, &b.spec.process, e)) < 0 ||
        (r = flags_from_annotations(cli, b.annotations, e)) < 0 || (r = cli_start_log(cli, e)) < 0)
        return r;
    l.spec = &b.spec;
    l.hooks = &b.hooks;
    l.info = (struct state_info){.bundle = b.path, .rootfs = b.rootfs, .annotations = b.annotations, .hooks = b.hooks_doc};
    b.spec.id = id;
    b.spec.platform = cli->platform;
    if (strcmp(cli->overlay, "root") == 0)
        b.spec.root_kind = SPEC_ROOT_OVERLAY;
    b.spec.strace = cli->strace;
    b.spec.network =
        cli->network_kind == SPEC_NETWORK_SANDBOX && is_pause(b.annotations) ? SPEC_NETWORK_NONE : cli->network_kind;
    b.spec.host_sockets = l.donated.sockets;
    r = state_create(cli, id, &state, e);
    if (r < 0)
        return r;
    /* By the pid that it has in the container. */
    if (b.spec.nr_start_hooks)
        b.spec.start_state = state_text(
            id, &(struct state_info){.bundle = b.path, .rootfs = b.rootfs, .pid = 1, .annotations = b.annotations}, "created");
    r = make_cgroup(&b, &l, e);
    b.spec.memory_in_cgroup = l.cgroup != NULL;
    if (r == 0)
        r = detach ? launch_detached(&l, e) : launch_foreground(&l, e);
    if (r < 0 || (!detach && !o->keep))
        destroy(&state);
    state_close(&state);
    return r;
}

static int cmd_run(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct run_opts *o = opts;
    return run_bundle(cli, o, argv[0], o->detach, true, e);
}

static int cmd_create(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    return run_bundle(cli, opts, argv[0], true, false, e);
}

const struct command command_run = {
    .name = "run",
    .args = "ID",
    .help = "create and start a container, and wait for it to end",
    .opts = run_opts,
    .opts_size = sizeof(struct run_opts),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_run,
};

const struct command command_create = {
    .name = "create",
    .args = "ID",
    .help = "create a container, to be started by `start`",
    .opts = create_opts,
    .opts_size = sizeof(struct run_opts),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_create,
};
