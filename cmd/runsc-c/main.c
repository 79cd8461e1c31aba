/* runsc-c: global flags, then one subcommand. */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/flags.h"
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct command *const cli_commands[] = {
    &command_run,        &command_do,
    &command_create,     &command_start,
    &command_exec,       &command_state,
    &command_list,       &command_ps,
    &command_kill,       &command_pause,
    &command_resume,     &command_delete,
    &command_wait,       &command_events,
    &command_update,     &command_spec,
    &command_features,   &command_checkpoint,
    &command_restore,    &command_debug,
    &command_syscalls,   &command_bench,
    &command_install,    &command_uninstall,
    &command_completion, NULL,
};

#define O(name, letter, kind, field, value, help)                    \
    {                                                                \
        name, letter, kind, offsetof(struct cli, field), value, help \
    }
const struct opt cli_global_opts[] = {
    O("root", 0, OPT_STRING, root, "DIR", "directory of container states (/run/runsc-c, or $XDG_RUNTIME_DIR/runsc-c)"),
    O("log", 0, OPT_STRING, log, "FILE", "write errors to FILE too"),
    O("log-format", 0, OPT_STRING, log_format, "FORMAT", "of --log: text (default) or json"),
    O("debug", 0, OPT_FLAG, debug, NULL, "log what the sentry does, to --debug-log or stderr"),
    O("debug-log", 0, OPT_STRING, debug_log, "FILE", "where the debug log and --strace go"),
    O("strace", 0, OPT_FLAG, strace, NULL, "log every system call, decoded"),
    O("platform", 0, OPT_STRING, platform, "NAME", "auto (default), pvmexec, pvmexec:stub, pvmexec:kernel, ptrace"),
    O("network", 0, OPT_STRING, network, "KIND",
      "sandbox (default): a stack of our own on the container's interfaces; host; none"),
    O("systemd-cgroup", 0, OPT_FLAG, systemd_cgroup, NULL, "have systemd make cgroups; cgroupsPath is slice:prefix:name then"),
    O("overlay", 0, OPT_STRING, overlay, "WHAT",
      "none (default), or root: what containers write to their root is kept in memory"),
    O("config", 0, OPT_STRING, config, "FILE", "more flags, as a JSON object of their names and values"),
    O("allow-flag-override", 0, OPT_FLAG, allow_flag_override, NULL, "let annotations dev.runsc-c.FLAG set any flag"),
    O("rootless", 0, OPT_STRING, rootless, "BOOL", "accepted for callers of runc"),
    O("version", 'v', OPT_FLAG, version, NULL, "print the version"),
    O("help", 'h', OPT_FLAG, help, NULL, "print this, or the help of a command"),
    OPT_END,
};
#undef O

static void print_help(void)
{
    printf("usage: runsc-c [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\n\n"
           "A sandbox for containers: runs them on a kernel of its own, in user space.\n\ncommands:\n");
    for (size_t i = 0; cli_commands[i]; i++)
        printf("  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->help);
    printf("\nglobal options:\n");
    options_print(cli_global_opts);
    printf("\n`runsc-c COMMAND --help` explains a command.\n");
}

static void print_command_help(const struct command *c)
{
    printf("usage: runsc-c [GLOBAL OPTIONS] %s %s%s\n\n%s\n", c->name, c->opts && c->opts->name ? "[OPTIONS] " : "", c->args,
           c->help);
    if (c->opts && c->opts->name) {
        printf("\noptions:\n");
        options_print(c->opts);
    }
}

/* Appends one line to the --log file, as runc does for its callers. */
static void log_error(const struct cli *cli, const char *text)
{
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    FILE *f = fopen(cli->log, "ae");

    if (!f)
        return;
    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    if (strcmp(cli->log_format, "json") == 0) {
        struct json_object *o = json_object_new_object();
        json_object_object_add(o, "level", json_object_new_string("error"));
        json_object_object_add(o, "msg", json_object_new_string(text));
        json_object_object_add(o, "time", json_object_new_string(when));
        fprintf(f, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
        json_object_put(o);
    } else {
        fprintf(f, "time=\"%s\" level=error msg=\"%s\"\n", when, text);
    }
    fclose(f);
}

/* So that whoever reads it finds one, and who has named none that there can be hears of it. */
static int check_log(const struct cli *cli, struct error *e)
{
    int fd = open(cli->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd < 0)
        return error_set(e, errno, "log %s", cli->log);
    close(fd);
    return 0;
}

int cli_start_log(const struct cli *cli, struct error *e)
{
    int fd = STDERR_FILENO;

    if (!cli->debug && !cli->strace && !cli->debug_log)
        return 0;
    if (cli->debug_log)
        fd = open(cli->debug_log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    else
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3); /* stderr itself becomes the guest's */
    if (fd < 0)
        return error_set(e, errno, "debug log %s", cli->debug_log ? cli->debug_log : "stderr");
    log_init(fd, cli->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    return 0;
}

/* The command line goes over the file that it names. */
static int parse_globals(struct cli *cli, int argc, char **argv, struct error *e)
{
    struct cli from_file = {0};
    int r = options_parse(cli_global_opts, cli, argc, argv, e), first = r;

    if (r >= 0 && cli->config) {
        r = flags_from_file(&from_file, cli->config, e);
        if (r == 0) {
            *cli = from_file;
            r = options_parse(cli_global_opts, cli, argc, argv, e);
        }
    }
    if (r >= 0)
        r = flags_check(cli, e);
    if (r >= 0 && cli->log)
        r = check_log(cli, e);
    return r < 0 ? r : first;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    return NULL;
}

static const struct opt no_opts[] = {OPT_END};

static int run_command(const struct cli *cli, int argc, char **argv, int *error_status, struct error *e)
{
    const struct command *c = find_command(argv[0]);
    void *opts;
    int first, n;

    if (!c)
        return error_set(e, 0, "unknown command \"%s\"; `runsc-c --help` lists them", argv[0]);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_command_help(c);
        return 0;
    }
    if (c->error_status)
        *error_status = c->error_status;
    opts = calloc(1, c->opts_size + 1);
    if (!opts)
        return error_set(e, ENOMEM, "%s", c->name);
    /* Those that are refused whatever they are told take anything. */
    first = !c->opts && c->max_args < 0 ? 1 : options_parse(c->opts ? c->opts : no_opts, opts, argc, argv, e);
    if (first < 0)
        return error_prefix(e, first, "%s", c->name);
    n = argc - first;
    if (n < c->min_args || (c->max_args >= 0 && n > c->max_args))
        return error_set(e, 0, "usage: runsc-c %s %s%s", c->name, c->opts ? "[OPTIONS] " : "", c->args);
    return c->run(cli, opts, n, argv + first, e);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    struct error e = {""};
    int first = parse_globals(&cli, argc, argv, &e), r = first, error_status = 1;

    if (r < 0)
        goto fail;
    if (cli.version) {
        printf("runsc-c version %s\nspec: %s\n", RUNSC_C_VERSION, OCI_VERSION);
        return 0;
    }
    if (cli.help || first >= argc) {
        print_help();
        return cli.help ? 0 : 1;
    }
    r = run_command(&cli, argc - first, argv + first, &error_status, &e);
    if (r >= 0)
        goto out;
fail:
    fprintf(stderr, "runsc-c: %s\n", e.text);
    if (cli.log && cli.log_format)
        log_error(&cli, e.text);
    r = error_status;
out:
    /* A sandbox is not taken apart: what it has goes with the process, and its threads must not see a library's end. */
    fflush(NULL);
    _exit(r);
}
