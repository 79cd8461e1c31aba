/* The bench subcommand: options, and the rounds. */
#include "cmd/runsc-c/bench/bench.h"
#include "cmd/runsc-c/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bench_opts {
    struct opt_list runsc, platforms, rows;
    const char *suite, *svg, *workloads, *programs, *rootfs;
    int rounds;
    bool json, native, free_only, pinned_only;
};

#define O(name, kind, field, value, help)                              \
    {                                                                  \
        name, 0, kind, offsetof(struct bench_opts, field), value, help \
    }
static const struct opt bench_options[] = {
    O("runsc", OPT_LIST, runsc, "PATH", "compare with this runsc (systrap where it has it, else ptrace); repeatable"),
    O("with", OPT_LIST, platforms, "PLATFORM", "only these platforms of ours; repeatable (default: all that work here)"),
    O("native", OPT_FLAG, native, NULL, "compare with the workloads outside of any container (not the program rows)"),
    O("row", OPT_LIST, rows, "NAME", "only this micro-benchmark; repeatable"),
    O("suite", OPT_STRING, suite, "NAME", "micro (default), programs, or all"),
    O("rounds", OPT_INT, rounds, "N", "how often everything runs (default 5)"),
    O("json", OPT_FLAG, json, NULL, "print JSON instead of a table"),
    O("svg", OPT_STRING, svg, "FILE", "write a chart"),
    O("unpinned", OPT_FLAG, free_only, NULL, "only on all CPUs"),
    O("pinned", OPT_FLAG, pinned_only, NULL, "only pinned to one CPU"),
    O("workloads", OPT_STRING, workloads, "FILE", "the workloads program (default: installed beside runsc-c)"),
    O("programs", OPT_STRING, programs, "FILE", "the script of the program rows (default: the same place)"),
    O("rootfs", OPT_STRING, rootfs, "DIR", "a Debian root for --suite programs"),
    OPT_END,
};
#undef O

/* The file that came with this build or installation. */
static int find_file(const char *given, const char *self, const char *name, char out[PATH_MAX], struct error *e)
{
    static const char *const places[] = {"../libexec/runsc-c", "../../tests/bench", "../../../tests/bench"};
    char path[2 * PATH_MAX];

    if (given)
        return realpath(given, out) ? 0 : error_set(e, errno, "%s", given);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        snprintf(path, sizeof(path), "%.*s/%s/%s", (int)(strrchr(self, '/') - self), self, places[i], name);
        if (realpath(path, out))
            return 0;
    }
    return error_set(e, 0, "no %s beside %s: name it with an option", name, self);
}

static int run_rounds(struct bench *b, bool micro, bool programs, struct error *e)
{
    int r = 0;

    for (int round = 0; round < b->rounds; round++)
        for (int c = 0; c < b->nr_contenders && r == 0; c++) {
            fprintf(stderr, "round %d/%d: %s\n", round + 1, b->rounds, b->contender[c].name);
            if (micro) {
                r = bench_run_container(b, c, "micro", NULL, e);
                for (int i = 0; i < 3 && r == 0; i++)
                    r = bench_run_container(b, c, "true", "start", e);
            }
            if (programs && r == 0 && !b->contender[c].pinned && !b->contender[c].is_native)
                r = bench_run_container(b, c, "programs", NULL, e);
        }
    return r;
}

static int bench_run(const struct cli *cli, void *options, int argc, char **argv, struct error *e)
{
    struct bench_opts *o = options;
    const char *suite = o->suite ? o->suite : "micro";
    bool micro = strcmp(suite, "programs") != 0, programs = strcmp(suite, "micro") != 0;
    char self[PATH_MAX] = "", workloads[PATH_MAX], script[PATH_MAX];
    const char *micro_argv[BENCH_MAX_ROWS + 2] = {"/bench/workloads"};
    struct bench *b;
    int r;

    for (size_t i = 0; i < o->rows.n && i < BENCH_MAX_ROWS; i++)
        micro_argv[i + 1] = o->rows.v[i];
    if (strcmp(suite, "micro") != 0 && strcmp(suite, "programs") != 0 && strcmp(suite, "all") != 0)
        return error_set(e, 0, "bench: --suite: \"%s\" is none of micro, programs, all", suite);
    if (programs && !o->rootfs)
        return error_set(e, 0, "bench: --suite %s needs --rootfs", suite);
    if (o->rounds < 0 || o->rounds > BENCH_MAX_ROUNDS / 3)
        return error_set(e, 0, "bench: --rounds: from 1 to %d", BENCH_MAX_ROUNDS / 3);
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
        return error_set(e, errno, "bench: /proc/self/exe");
    b = calloc(1, sizeof(*b));
    if (!b)
        return error_set(e, ENOMEM, "bench");
    b->rounds = o->rounds ? o->rounds : 5;
    b->workloads = workloads;
    b->programs = script;
    b->rootfs = o->rootfs;
    b->rows = micro_argv + 1;
    r = find_file(o->workloads, self, "workloads", workloads, e);
    if (r == 0)
        r = find_file(o->programs, self, "programs.sh", script, e);
    if (r == 0)
        r = bench_setup_dir(b, e);
    if (r < 0) {
        free(b);
        return error_prefix(e, r, "bench");
    }
    r = bench_find_contenders(b, self, o->platforms.v, o->platforms.n, o->runsc.v, o->runsc.n, o->native, !o->pinned_only,
                              !o->free_only, e);
    if (r == 0)
        r = bench_make_bundle(b, "micro", NULL, micro_argv, e);
    if (r == 0)
        r = bench_make_bundle(b, "true", NULL, (const char *[]){"/bench/workloads", "true", NULL}, e);
    if (r == 0 && programs)
        r = bench_make_bundle(b, "programs", b->rootfs,
                              (const char *[]){"/bin/sh", "/bench/programs.sh", "/bench/workloads", NULL}, e);
    if (r == 0)
        r = run_rounds(b, micro, programs, e);
    if (r == 0) {
        if (o->json)
            bench_print_json(b, stdout);
        else
            bench_print_table(b, stdout);
        if (o->svg)
            r = bench_write_svg(b, o->svg, e);
    }
    bench_remove_dir(b);
    free(b);
    return r < 0 ? error_prefix(e, r, "bench") : 0;
}

const struct command command_bench = {
    .name = "bench",
    .args = "",
    .help = "compare platforms and runtimes on the same workloads",
    .opts = bench_options,
    .opts_size = sizeof(struct bench_opts),
    .run = bench_run,
};
