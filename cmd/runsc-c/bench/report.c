/* The result as a table for people and as JSON for programs. */
#include "cmd/runsc-c/bench/bench.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(const struct bench_row *row, int contender)
{
    double v[BENCH_MAX_ROUNDS];
    int n = row->nr[contender];

    if (n == 0)
        return 0;
    memcpy(v, row->sample[contender], (size_t)n * sizeof(v[0]));
    qsort(v, (size_t)n, sizeof(v[0]), compare);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double bench_spread(const struct bench_row *row, int contender)
{
    double min = 1e300, max = 0, median = bench_median(row, contender);

    for (int i = 0; i < row->nr[contender]; i++) {
        double v = row->sample[contender][i];

        min = v < min ? v : min;
        max = v > max ? v : max;
    }
    return median > 0 ? (max - min) / median : 0;
}

static void format_value(char *buf, size_t len, double v, bool rate)
{
    if (v == 0)
        snprintf(buf, len, "-");
    else if (rate)
        snprintf(buf, len, v < 10000 ? "%.0f/s" : "%.1fk/s", v < 10000 ? v : v / 1000);
    else if (v < 1e6)
        snprintf(buf, len, v < 1e4 ? "%.3f us" : "%.1f us", v / 1e3);
    else
        snprintf(buf, len, v < 1e8 ? "%.1f ms" : "%.0f ms", v / 1e6);
}

/* The contender of the same pinning that `pick` accepts, or -1. */
static int reference(const struct bench *b, int contender, bool runc)
{
    for (int i = 0; i < b->nr_contenders; i++)
        if (b->contender[i].pinned == b->contender[contender].pinned &&
            (runc ? b->contender[i].is_runc : b->contender[i].is_runsc))
            return i;
    return -1;
}

/* How many times faster `c` is than `ref` in this row; 0 when unknown. */
static double speedup(const struct bench_row *row, int c, int ref)
{
    double mine = ref >= 0 ? bench_median(row, c) : 0, theirs = ref >= 0 ? bench_median(row, ref) : 0;

    if (mine == 0 || theirs == 0)
        return 0;
    return row->rate ? mine / theirs : theirs / mine;
}

void bench_print_table(const struct bench *b, FILE *out)
{
    char cell[64], value[32];

    fprintf(
        out,
        "Medians of %d rounds (spread: (max - min) / median); xRUNC, xRUNSC: how many times as fast as that one.\n\n| row |",
        b->rounds);
    for (int c = 0; c < b->nr_contenders; c++)
        fprintf(out, " %s |", b->contender[c].name);
    fprintf(out, "\n| --- |");
    for (int c = 0; c < b->nr_contenders; c++)
        fprintf(out, " --- |");
    for (int r = 0; r < b->nr_rows; r++) {
        const struct bench_row *row = &b->row[r];

        fprintf(out, "\n| %s |", row->name);
        for (int c = 0; c < b->nr_contenders; c++) {
            const struct bench_contender *me = &b->contender[c];
            double vs_runc = me->is_runc ? 0 : speedup(row, c, reference(b, c, true));
            double vs_runsc = me->is_runc || me->is_runsc ? 0 : speedup(row, c, reference(b, c, false));
            int n;

            format_value(value, sizeof(value), bench_median(row, c), row->rate);
            n = snprintf(cell, sizeof(cell), "%s", value);
            if (row->nr[c] > 1)
                n += snprintf(cell + n, sizeof(cell) - (size_t)n, " ±%.0f%%", bench_spread(row, c) * 50);
            if (vs_runc > 0)
                n += snprintf(cell + n, sizeof(cell) - (size_t)n, " x%.2f", vs_runc);
            if (vs_runsc > 0)
                snprintf(cell + n, sizeof(cell) - (size_t)n, " x%.1f", vs_runsc);
            fprintf(out, " %s |", cell);
        }
    }
    fprintf(out, "\n\nCells of ours: time, spread, xRUNC, xRUNSC.\n");
}

void bench_print_json(const struct bench *b, FILE *out)
{
    struct json_object *rows = json_object_new_array();

    for (int r = 0; r < b->nr_rows; r++)
        for (int c = 0; c < b->nr_contenders; c++) {
            const struct bench_row *row = &b->row[r];
            struct json_object *o = json_object_new_object(), *samples = json_object_new_array();

            for (int i = 0; i < row->nr[c]; i++)
                json_object_array_add(samples, json_object_new_double(row->sample[c][i]));
            json_object_object_add(o, "row", json_object_new_string(row->name));
            json_object_object_add(o, "contender", json_object_new_string(b->contender[c].name));
            json_object_object_add(o, "pinned", json_object_new_boolean(b->contender[c].pinned));
            json_object_object_add(o, "unit", json_object_new_string(row->rate ? "1/s" : "ns"));
            json_object_object_add(o, "median", json_object_new_double(bench_median(row, c)));
            json_object_object_add(o, "samples", samples);
            json_object_array_add(rows, o);
        }
    fprintf(out, "%s\n", json_object_to_json_string_ext(rows, JSON_C_TO_STRING_PRETTY));
    json_object_put(rows);
}
