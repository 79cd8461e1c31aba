#include "sentry/fs/proc/sysctl.h"

#include "sentry/fs/fs.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A setting that somebody has changed. */
struct sysctl_change {
    struct list_head node;
    const struct sysctl *which;
    int64_t values[SYSCTL_MAX_NUMBERS];
};

static struct sysctl_change *find_change(struct kernel *k, const struct sysctl *which) REQUIRES(k->sysctl_lock)
{
    struct sysctl_change *ch;

    list_for_each_entry(ch, &k->sysctl_changes, node) {
        if (ch->which == which)
            return ch;
    }
    return NULL;
}

void sysctl_get(struct kernel *k, const struct sysctl *which, int64_t out[SYSCTL_MAX_NUMBERS])
{
    const struct sysctl_change *ch;

    mutex_lock(&k->sysctl_lock);
    ch = find_change(k, which);
    memcpy(out, ch ? ch->values : which->initial, sizeof(ch->values));
    mutex_unlock(&k->sysctl_lock);
}

static int sysctl_set(struct kernel *k, const struct sysctl *which, const int64_t *values, int nr)
{
    struct sysctl_change *ch;
    int r = 0;

    mutex_lock(&k->sysctl_lock);
    ch = find_change(k, which);
    if (!ch) {
        ch = malloc(sizeof(*ch));
        if (ch) {
            ch->which = which;
            memcpy(ch->values, which->initial, sizeof(ch->values));
            list_add_tail(&ch->node, &k->sysctl_changes);
        } else {
            r = -ENOMEM;
        }
    }
    if (ch)
        memcpy(ch->values, values, nr * sizeof(*values));
    mutex_unlock(&k->sysctl_lock);
    return r;
}

int sysctl_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    const struct sysctl *which = n->desc->arg;
    int64_t values[SYSCTL_MAX_NUMBERS];

    sysctl_get(n->k, which, values);
    for (int i = 0; i < which->nr; i++)
        seq_printf(s, "%s%" PRId64, i ? "\t" : "", values[i]);
    seq_putc(s, '\n');
    return 0;
}

int sysctl_parse(const char *buf, int64_t *out, int nr)
{
    int got = 0;

    for (;;) {
        char *end;
        while (isspace((unsigned char)*buf))
            buf++;
        if (!*buf || got == nr)
            return got ? got : -EINVAL;
        errno = 0;
        out[got] = strtoll(buf, &end, 0);
        if (end == buf || errno || (*end && !isspace((unsigned char)*end)))
            return -EINVAL;
        got++;
        buf = end;
    }
}

/* Writes that do not begin at offset 0 change nothing, as with kernel.sysctl_writes_strict. */
ssize_t sysctl_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    const struct sysctl *which = n->desc->arg;
    int64_t values[SYSCTL_MAX_NUMBERS];
    int nr;

    if (pos != 0 || len == 0)
        return len;
    nr = sysctl_parse(buf, values, which->nr);
    if (nr < 0)
        return nr;
    for (int i = 0; i < nr; i++)
        if (values[i] < which->min || values[i] > which->max)
            return -EINVAL;
    nr = sysctl_set(n->k, which, values, nr);
    return nr ? nr : (ssize_t)len;
}

static const struct pseudo_desc user_rows[] = {
    SYSCTL_INT("max_cgroup_namespaces", 0, 0, INT32_MAX),  SYSCTL_INT("max_ipc_namespaces", 0, 0, INT32_MAX),
    SYSCTL_INT("max_mnt_namespaces", 65536, 0, INT32_MAX), SYSCTL_INT("max_net_namespaces", 0, 0, INT32_MAX),
    SYSCTL_INT("max_pid_namespaces", 0, 0, INT32_MAX),     SYSCTL_INT("max_user_namespaces", 0, 0, INT32_MAX),
    SYSCTL_INT("max_uts_namespaces", 0, 0, INT32_MAX),     PSEUDO_END,
};

const struct pseudo_desc proc_sys_rows[] = {
    PSEUDO_DIR("fs", 0555, sysctl_fs_rows),   PSEUDO_DIR("kernel", 0555, sysctl_kernel_rows),
    PSEUDO_DIR("net", 0555, sysctl_net_rows), PSEUDO_DIR("user", 0555, user_rows),
    PSEUDO_DIR("vm", 0555, sysctl_vm_rows),   PSEUDO_END,
};

/* A row by its name, of which each dot or slash is a step down. */
static const struct pseudo_desc *find_row(const char *name)
{
    const struct pseudo_desc *rows = proc_sys_rows, *d = NULL;

    while (rows) {
        size_t n = strcspn(name, "./");

        for (d = rows; d->name; d++)
            if (strlen(d->name) == n && memcmp(d->name, name, n) == 0)
                break;
        if (!d->name)
            return NULL;
        if (!name[n])
            return d;
        name += n + 1;
        rows = d->children;
    }
    return NULL;
}

int proc_sysctl_set(struct kernel *k, const struct vfs_caller *c, const char *name, const char *value)
{
    const struct pseudo_node n = {.desc = find_row(name), .k = k};
    char buf[4096];
    ssize_t r;

    if (!n.desc || S_ISDIR(n.desc->mode))
        return -ENOENT;
    if (snprintf(buf, sizeof(buf), "%s", value) >= (int)sizeof(buf))
        return -EINVAL;
    if (!n.desc->write)
        return -EACCES;
    r = n.desc->write(&n, c, buf, strlen(buf), 0);
    return r < 0 ? (int)r : 0;
}
