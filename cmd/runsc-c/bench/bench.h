/*
 * `runsc-c bench`: the same workloads under several contenders (each platform of ours, runc, any runsc), interleaved in one
 * run.
 *
 * A contender is a command line that runs an OCI bundle, free or pinned to one CPU. Each round runs every contender once, so
 * that a machine whose speed drifts treats all alike. A result is the median over the rounds.
 */
#ifndef CMD_RUNSC_C_BENCH_BENCH_H
#define CMD_RUNSC_C_BENCH_BENCH_H

#include "lib/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define BENCH_MAX_CONTENDERS 24
#define BENCH_MAX_ROWS       64
#define BENCH_MAX_ROUNDS     100

struct bench_contender {
    char name[48];
    const char *argv[12]; /* the command up to "run"; NULL-terminated */
    bool pinned;
    int group; /* same group: same runtime, free and pinned */
    bool is_runc, is_runsc;
    bool is_native; /* no container: the workloads program itself; argv is empty */
};

struct bench_row {
    char name[48];
    bool rate; /* operations per second, more is better; else nanoseconds */
    int nr[BENCH_MAX_CONTENDERS];
    double sample[BENCH_MAX_CONTENDERS][BENCH_MAX_ROUNDS];
};

struct bench {
    struct bench_contender contender[BENCH_MAX_CONTENDERS];
    int nr_contenders;
    struct bench_row row[BENCH_MAX_ROWS];
    int nr_rows;
    int rounds;
    char dir[64];            /* our temporary directory: bundles, states of other runtimes */
    const char *workloads;   /* the static program */
    const char *const *rows; /* names of the workloads to run, NULL-terminated; none: all */
    const char *programs;    /* programs.sh */
    const char *rootfs;      /* for the program rows */
};

/* contender.c */
int bench_find_contenders(struct bench *b, const char *self, const char *const *platforms, size_t nr_platforms,
                          const char *const *runsc, size_t nr_runsc, bool native, bool free_runs, bool pinned_runs,
                          struct error *e);
/* container.c: bundles in b->dir, and one run of one of them whose output lines become samples. */
int bench_make_bundle(struct bench *b, const char *name, const char *rootfs, const char *const *args, struct error *e);
int bench_run_container(struct bench *b, int contender, const char *bundle, const char *time_row, struct error *e);
void bench_add_sample(struct bench *b, int contender, const char *row, double value, bool rate);
int bench_setup_dir(struct bench *b, struct error *e);
void bench_remove_dir(struct bench *b);

/* report.c */
double bench_median(const struct bench_row *row, int contender);
double bench_spread(const struct bench_row *row, int contender); /* (max - min) / median */
void bench_print_table(const struct bench *b, FILE *out);
void bench_print_json(const struct bench *b, FILE *out);
/* chart.c */
int bench_write_svg(const struct bench *b, const char *path, struct error *e);

#endif
