/* The result as a bar chart: a group of bars a row, on a logarithmic scale of time relative to runc, or else the first. */
#include "cmd/runsc-c/bench/bench.h"

#include <errno.h>
#include <math.h>

enum { BAR = 9, GAP = 10, LABEL = 170, WIDTH = 900, TOP = 60, LEGEND = 16 };

static const char *const colours[] = {"#3b6ea8", "#8fb3d9", "#c2703d", "#e3b48f", "#4f8a4f", "#a9d0a9",
                                      "#7a5195", "#bca0dc", "#777777", "#bbbbbb", "#b03a48", "#e59aa3"};

static int base_contender(const struct bench *b)
{
    for (int i = 0; i < b->nr_contenders; i++)
        if (b->contender[i].is_runc && !b->contender[i].pinned)
            return i;
    return 0;
}

/* Cost relative to the base: 1 is equal, more is slower. 0 when unknown. */
static double cost(const struct bench_row *row, int c, int base)
{
    double mine = bench_median(row, c), ref = bench_median(row, base);

    if (mine == 0 || ref == 0)
        return 0;
    return row->rate ? ref / mine : mine / ref;
}

int bench_write_svg(const struct bench *b, const char *path, struct error *e)
{
    int base = base_contender(b), group = b->nr_contenders * BAR + GAP;
    int top = TOP + b->nr_contenders * LEGEND, height = top + b->nr_rows * group + 20;
    double max = 2, min = 0.5, scale;
    FILE *f = fopen(path, "we");

    if (!f)
        return error_set(e, errno, "%s", path);
    for (int r = 0; r < b->nr_rows; r++)
        for (int c = 0; c < b->nr_contenders; c++) {
            double v = cost(&b->row[r], c, base);

            max = v > max ? v : max;
            min = v > 0 && v < min ? v : min;
        }
    scale = (WIDTH - LABEL - 90) / (log10(max) - log10(min));
    fprintf(
        f,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
        "<text x=\"10\" y=\"24\" font-size=\"15\">Cost relative to %s, logarithmic (shorter is faster)</text>\n",
        WIDTH, height, b->contender[base].name);
    for (int c = 0; c < b->nr_contenders; c++)
        fprintf(f, "<rect x=\"10\" y=\"%d\" width=\"12\" height=\"10\" fill=\"%s\"/><text x=\"28\" y=\"%d\">%s</text>\n",
                40 + c * LEGEND, colours[c % 12], 49 + c * LEGEND, b->contender[c].name);
    for (double p = pow(10, ceil(log10(min))); p <= max; p *= 10) {
        double x = LABEL + (log10(p) - log10(min)) * scale;

        fprintf(f,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%d\" "
                "fill=\"#666\">%gx</text>\n",
                x, x, top - 6, height - 14, x + 2, height - 3, p);
    }
    for (int r = 0; r < b->nr_rows; r++) {
        int y = top + r * group;

        fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", LABEL - 8, y + (group - GAP) / 2 + 4,
                b->row[r].name);
        for (int c = 0; c < b->nr_contenders; c++) {
            double v = cost(&b->row[r], c, base), w = v > 0 ? (log10(v) - log10(min)) * scale : 0;

            if (v > 0)
                fprintf(f,
                        "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/><text x=\"%.1f\" y=\"%d\" "
                        "font-size=\"8\">%.2f</text>\n",
                        LABEL, y + c * BAR, w < 1 ? 1 : w, BAR - 1, colours[c % 12], LABEL + w + 3, y + c * BAR + 7, v);
        }
    }
    fprintf(f, "</svg>\n");
    return fclose(f) ? error_set(e, errno, "%s", path) : 0;
}
