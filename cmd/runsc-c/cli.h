/*
 * What all subcommands share: the global flags, the table of commands, and the option parser's tables.
 *
 * A command fills a struct error when it fails and returns a negative errno; main() prints it once, in the form that
 * --log-format asks for, and exits with 1. A command that succeeds returns the exit status.
 */
#ifndef CMD_RUNSC_C_CLI_H
#define CMD_RUNSC_C_CLI_H

#include "lib/error.h"
#include "sentry/boot/spec.h"

#include <stdbool.h>
#include <stddef.h>

struct cli {
    const char *root;       /* where container states live */
    const char *log;        /* file for errors; NULL: stderr */
    const char *log_format; /* "text" or "json" */
    const char *debug_log;  /* file for the debug log */
    const char *platform;   /* "auto", ... */
    const char *network;    /* "sandbox", "host", "none"; NULL: sandbox */
    enum spec_network network_kind;
    bool debug, strace;
    bool systemd_cgroup;
    const char *rootless; /* accepted for runc's callers: we see for ourselves */
    const char *overlay;  /* "none", or "root": what a container writes to its root goes to memory */
    const char *config;   /* file with flags */
    bool allow_flag_override;
    bool version, help;
};

enum opt_kind { OPT_FLAG, OPT_STRING, OPT_INT, OPT_LIST };

/* A value list for options that may be repeated. Freed with the process. */
struct opt_list {
    const char **v;
    size_t n;
};

/* One option; `offset` is of a bool, const char *, int or struct opt_list in the command's own struct. */
struct opt {
    const char *name;
    char letter; /* short form, or 0 */
    enum opt_kind kind;
    size_t offset;
    const char *value; /* name of the value in the help */
    const char *help;
};
#define OPT_END \
    {           \
        0       \
    }

struct command {
    const char *name;
    const char *args; /* operands, for the usage line */
    const char *help;
    const struct opt *opts;
    size_t opts_size;       /* of the struct that the options fill */
    int min_args, max_args; /* operands; max < 0: any number */
    int error_status;       /* when it fails; 0: 1 */
    /* `opts` points to the filled struct. Exit status, or negative errno with *e set. */
    int (*run)(const struct cli *cli, void *opts, int argc, char **argv, struct error *e);
};

extern const struct command command_bench, command_checkpoint, command_completion, command_create, command_debug,
    command_delete, command_do, command_events, command_exec, command_features, command_install, command_kill, command_list,
    command_pause, command_ps, command_restore, command_resume, command_run, command_spec, command_start, command_state,
    command_syscalls, command_uninstall, command_update, command_wait;

/* main.c's tables, for completion: NULL-terminated, and ended by OPT_END. */
extern const struct command *const cli_commands[];
extern const struct opt cli_global_opts[];

/*
 * Parses options up to the first operand (or "--") into the struct at `dest`; index of the first operand, or negative errno
 * with *e set.
 */
int options_parse(const struct opt *opts, void *dest, int argc, char **argv, struct error *e);
/* One option from elsewhere, by its text. */
int option_set(const struct opt *o, void *dest, const char *text, struct error *e);
void options_print(const struct opt *opts);

/* Opens the debug log and the like as the global flags say. */
int cli_start_log(const struct cli *cli, struct error *e);

#endif
