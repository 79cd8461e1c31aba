/* state and list: what is known of containers. */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"

#include <stdio.h>
#include <string.h>

/* Without the lock, so that hooks and whoever else asks while the container is created, started or deleted get an answer. */
static int describe(const struct cli *cli, const char *id, struct json_object **out, struct error *e)
{
    struct container c;
    int r = container_peek(cli, id, &c, e);

    if (r < 0)
        return r;
    *out = container_describe(&c, container_status(&c));
    container_close(&c);
    return 0;
}

static int cmd_state(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    struct json_object *o;
    int r = describe(cli, argv[0], &o, e);

    if (r < 0)
        return r;
    printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    return 0;
}

const struct command command_state = {
    .name = "state", .args = "ID", .help = "print a container's state as JSON", .min_args = 1, .max_args = 1, .run = cmd_state};

struct list_opts {
    const char *format;
    bool quiet;
    /* Filled while listing. */
    const struct cli *cli;
    struct json_object *all;
};

static int list_one(const char *id, void *arg)
{
    struct list_opts *l = arg;
    struct json_object *o;
    struct error e;

    /* A container may go away while we look. */
    if (describe(l->cli, id, &o, &e) == 0)
        json_object_array_add(l->all, o);
    return 0;
}

static const char *field(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;
    json_object_object_get_ex(o, key, &v);
    return v ? json_object_get_string(v) : "";
}

static int cmd_list(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    struct list_opts *l = opts;
    size_t n;
    int r;

    l->cli = cli;
    l->all = json_object_new_array();
    if (l->format && strcmp(l->format, "table") != 0 && strcmp(l->format, "json") != 0)
        return error_set(e, 0, "--format: \"%s\" is neither table nor json", l->format);
    r = state_for_each(cli, list_one, l);
    if (r < 0)
        return error_set(e, -r, "state directory %s", cli->root);
    if (l->format && strcmp(l->format, "json") == 0) {
        printf("%s\n", json_object_to_json_string_ext(l->all, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        return 0;
    }
    n = json_object_array_length(l->all);
    if (!l->quiet)
        printf("%-24s %-10s %-10s %-40s %s\n", "ID", "PID", "STATUS", "BUNDLE", "CREATED");
    for (size_t i = 0; i < n; i++) {
        struct json_object *o = json_object_array_get_idx(l->all, i);
        if (l->quiet)
            printf("%s\n", field(o, "id"));
        else
            printf("%-24s %-10s %-10s %-40s %s\n", field(o, "id"), field(o, "pid"), field(o, "status"), field(o, "bundle"),
                   field(o, "created"));
    }
    return 0;
}

static const struct opt list_opts[] = {
    {"format", 'f', OPT_STRING, offsetof(struct list_opts, format), "FORMAT", "table (default) or json"},
    {"quiet", 'q', OPT_FLAG, offsetof(struct list_opts, quiet), NULL, "print ids only"},
    OPT_END,
};

const struct command command_list = {.name = "list",
                                     .args = "",
                                     .help = "list containers",
                                     .opts = list_opts,
                                     .opts_size = sizeof(struct list_opts),
                                     .run = cmd_list};
