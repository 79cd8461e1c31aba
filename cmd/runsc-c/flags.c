#include "cmd/runsc-c/flags.h"

#include "cmd/runsc-c/oci/json.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "dev.runsc-c."

static int set(struct cli *cli, const char *where, const char *name, struct json_object *value, struct error *e)
{
    const char *text = json_object_get_string(value);

    if (!json_object_is_type(value, json_type_string) && !json_object_is_type(value, json_type_boolean) &&
        !json_object_is_type(value, json_type_int))
        return error_set(e, 0, "%s: \"%s\" is neither a string nor a number nor a boolean", where, name);
    for (const struct opt *o = cli_global_opts; o->name; o++)
        if (strcmp(o->name, name) == 0 && strcmp(name, "config") != 0) {
            int r = option_set(o, cli, text, e);
            return r < 0 ? error_prefix(e, r, "%s", where) : 0;
        }
    return error_set(e, 0, "%s: there is no flag \"%s\"", where, name);
}

int flags_from_file(struct cli *cli, const char *path, struct error *e)
{
    struct json_object *doc;
    int r = json_load(AT_FDCWD, path, &doc, e);

    if (r < 0)
        return r;
    /* The document stays: flags point into it. */
    json_object_object_foreach(doc, name, value)
    {
        r = set(cli, path, name, value, e);
        if (r < 0)
            return r;
    }
    return 0;
}

int flags_from_annotations(struct cli *cli, struct json_object *annotations, struct error *e)
{
    static const char *const own[] = {"platform", "overlay"};

    if (!annotations)
        return 0;
    json_object_object_foreach(annotations, key, value)
    {
        bool allowed = cli->allow_flag_override;
        const char *name = key + strlen(PREFIX);
        int r;

        if (strncmp(key, PREFIX, strlen(PREFIX)) != 0)
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(own); i++)
            allowed |= strcmp(own[i], name) == 0;
        if (!allowed)
            return error_set(e, 0, "annotation %s: allowed with --allow-flag-override only", key);
        r = set(cli, key, name, value, e);
        if (r < 0)
            return r;
    }
    return flags_check(cli, e);
}

static int check_word(const char *flag, const char **value, const char *const *words, struct error *e)
{
    if (!*value)
        *value = words[0];
    for (const char *const *w = words; *w; w++)
        if (strcmp(*w, *value) == 0)
            return 0;
    return error_set(e, 0, "--%s: \"%s\" is unknown", flag, *value);
}

static int parse_network(struct cli *cli, struct error *e)
{
    static const char *const kinds[] = {
        [SPEC_NETWORK_SANDBOX] = "sandbox", [SPEC_NETWORK_HOST] = "host", [SPEC_NETWORK_NONE] = "none"};

    for (size_t i = 0; cli->network && i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(cli->network, kinds[i]) == 0) {
            cli->network_kind = (enum spec_network)i;
            return 0;
        }
    }
    return cli->network ? error_set(e, 0, "--network: \"%s\" is none of sandbox, host, none", cli->network) : 0;
}

bool flags_rootless(void)
{
    unsigned long inside, outside, count = 0;
    FILE *f = fopen("/proc/self/uid_map", "re");

    if (f && fscanf(f, "%lu %lu %lu", &inside, &outside, &count) != 3)
        count = 0;
    if (f)
        fclose(f);
    return geteuid() != 0 || count < UINT32_MAX;
}

/* As runc decides it: root of a user namespace (podman without root) has no /run of its own. */
static bool use_runtime_dir(void)
{
    const char *user = getenv("USER");

    return geteuid() != 0 || (flags_rootless() && (!user || strcmp(user, "root") != 0));
}

int flags_check(struct cli *cli, struct error *e)
{
    static const char *const formats[] = {"text", "json", NULL}, *const overlays[] = {"none", "root", NULL};
    static const char *const rootless[] = {"auto", "true", "false", NULL};
    static char root[512];
    const char *run = getenv("XDG_RUNTIME_DIR");
    int r;

    if (!cli->root) {
        if (run && use_runtime_dir())
            snprintf(root, sizeof(root), "%s/runsc-c", run);
        else
            snprintf(root, sizeof(root), "/run/runsc-c");
        cli->root = root;
    }
    if (!cli->platform)
        cli->platform = "auto";
    if ((r = parse_network(cli, e)) < 0)
        return r;
    r = check_word("log-format", &cli->log_format, formats, e);
    if (r == 0)
        r = check_word("rootless", &cli->rootless, rootless, e);
    return r < 0 ? r : check_word("overlay", &cli->overlay, overlays, e);
}
