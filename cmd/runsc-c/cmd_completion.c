/* completion: words for the shell, from the same tables as the help. Ids of containers come from `runsc-c list -q`. */
#include "cmd/runsc-c/cli.h"

#include <stdio.h>
#include <string.h>

static void print_options(const struct opt *opts)
{
    for (; opts && opts->name; opts++)
        printf(" --%s", opts->name);
    printf(" --help");
}

static bool takes_id(const struct command *c)
{
    return strncmp(c->args, "ID", 2) == 0 && strcmp(c->name, "run") != 0 && strcmp(c->name, "create") != 0;
}

static void print_bash(void)
{
    printf("# bash completion for runsc-c: source <(runsc-c completion bash)\n"
           "_runsc_c() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} cmd= i\n"
           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        case ${COMP_WORDS[i]} in");
    for (size_t i = 0; cli_commands[i]; i++)
        printf("%s%s", i ? "|" : "\n        ", cli_commands[i]->name);
    printf(") cmd=${COMP_WORDS[i]}; break ;;\n        esac\n    done\n    local words=\n    case $cmd in\n    '') words=\"");
    for (size_t i = 0; cli_commands[i]; i++)
        printf("%s%s", i ? " " : "", cli_commands[i]->name);
    print_options(cli_global_opts);
    printf("\" ;;\n");
    for (size_t i = 0; cli_commands[i]; i++) {
        printf("    %s) words=\"", cli_commands[i]->name);
        print_options(cli_commands[i]->opts);
        printf("%s\" ;;\n", takes_id(cli_commands[i]) ? " $(runsc-c list -q 2>/dev/null)" : "");
    }
    printf("    esac\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "    [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
           "}\n"
           "complete -o filenames -F _runsc_c runsc-c\n");
}

/* zsh runs bash's functions. */
static void print_zsh(void)
{
    printf("#compdef runsc-c\n# zsh completion for runsc-c: source <(runsc-c completion zsh)\n"
           "autoload -U +X bashcompinit && bashcompinit\n");
    print_bash();
}

static int cmd_completion(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    if (strcmp(argv[0], "bash") == 0)
        print_bash();
    else if (strcmp(argv[0], "zsh") == 0)
        print_zsh();
    else
        return error_set(e, 0, "completion: \"%s\" is neither bash nor zsh", argv[0]);
    return 0;
}

const struct command command_completion = {.name = "completion",
                                           .args = "bash|zsh",
                                           .help = "print a script that completes command lines",
                                           .min_args = 1,
                                           .max_args = 1,
                                           .run = cmd_completion};
