/* checkpoint and restore: known to callers of runc, and refused by name. */
#include "cmd/runsc-c/cli.h"

#include <errno.h>

static int cmd_checkpoint(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    return error_set(e, ENOTSUP, "checkpoint");
}

static int cmd_restore(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    return error_set(e, ENOTSUP, "restore");
}

const struct command command_checkpoint = {.name = "checkpoint",
                                           .args = "ID",
                                           .help = "not supported: save a container's state",
                                           .max_args = -1,
                                           .run = cmd_checkpoint};
const struct command command_restore = {.name = "restore",
                                        .args = "ID",
                                        .help = "not supported: restore a container from a saved state",
                                        .max_args = -1,
                                        .run = cmd_restore};
