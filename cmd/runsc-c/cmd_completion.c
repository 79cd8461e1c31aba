/* completion: words for the shell, and the manual page, from the same tables as the help. Ids of containers come from `runsc-c
 * list -q`. */
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

/* Text for troff: hyphens are minus signs, as they are to be typed, and lines do not begin with a command. */
static void print_troff(const char *text)
{
    if (*text == '.' || *text == '\'')
        printf("\\&");
    for (; *text; text++)
        if (*text == '-')
            printf("\\-");
        else if (*text == '\\')
            printf("\\e");
        else
            putchar(*text);
}

static void print_man_options(const struct opt *opts)
{
    for (; opts && opts->name; opts++) {
        printf(".TP\n.B ");
        if (opts->letter)
            printf("\\-%c, ", opts->letter);
        printf("\\-\\-");
        print_troff(opts->name);
        if (opts->value)
            printf(" \\fI%s\\fP", opts->value);
        printf("\n");
        print_troff(opts->help);
        printf("\n");
    }
}

static void print_man(void)
{
    printf(".TH RUNSC-C 8 \"\" \"runsc-c " RUNSC_C_VERSION
           "\"\n.SH NAME\nrunsc\\-c \\- run containers in a sandbox with a kernel of its own\n"
           ".SH SYNOPSIS\n.B runsc\\-c\n[\\fIGLOBAL OPTIONS\\fP] \\fICOMMAND\\fP [\\fIOPTIONS\\fP] [\\fIARGUMENTS\\fP]\n.SH "
           "DESCRIPTION\n"
           "An OCI runtime with the command line of\n.BR runc (8).\nThe processes of a container run as plain user code, and "
           "their system calls are\n"
           "served by a process of the sandbox's own instead of the host's kernel.\n.SH GLOBAL OPTIONS\n");
    print_man_options(cli_global_opts);
    printf(".SH COMMANDS\n");
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct command *c = cli_commands[i];
        printf(".SS ");
        print_troff(c->name);
        printf("%s ", c->opts ? " [OPTIONS]" : "");
        print_troff(c->args);
        printf("\n");
        print_troff(c->help);
        printf(".\n");
        print_man_options(c->opts);
    }
    printf(".SH EXIT STATUS\n"
           "Of\n.BR run , do\nand\n.BR exec :\nthe program's, or 128 and the number of the signal that ended it. 1 for an "
           "error of\n"
           ".B runsc\\-c\nitself, which it tells in one line on standard error; 255 where the program could not be started "
           "by\n.BR exec .\n"
           ".SH FILES\n.TP\n.I /run/runsc\\-c\nStates of containers, a directory each; below\n.B $XDG_RUNTIME_DIR\nfor users "
           "other than root.\n"
           ".TP\n.I config.json\nA bundle's configuration, by the OCI runtime specification.\n.SH SEE ALSO\n.BR runc (8)\n");
}

static int cmd_completion(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    if (strcmp(argv[0], "bash") == 0)
        print_bash();
    else if (strcmp(argv[0], "zsh") == 0)
        print_zsh();
    else if (strcmp(argv[0], "man") == 0)
        print_man();
    else
        return error_set(e, 0, "completion: \"%s\" is none of bash, zsh, man", argv[0]);
    return 0;
}

const struct command command_completion = {.name = "completion",
                                           .args = "bash|zsh|man",
                                           .help = "print a script that completes command lines, or the manual page",
                                           .min_args = 1,
                                           .max_args = 1,
                                           .run = cmd_completion};
