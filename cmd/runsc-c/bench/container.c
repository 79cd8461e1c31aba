/* Bundles for the benchmark's containers, and running one of them. */
#include "cmd/runsc-c/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <json-c/json.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int bench_setup_dir(struct bench *b, struct error *e)
{
    snprintf(b->dir, sizeof(b->dir), "/tmp/runsc-c-bench-XXXXXX");
    return mkdtemp(b->dir) ? 0 : error_set(e, errno, "%s", b->dir);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    remove(path);
    return 0;
}

/* Stays on the file system: a mount that a runtime left behind must not be emptied. */
void bench_remove_dir(struct bench *b)
{
    char netns[128];

    /* runsc keeps a network namespace bound in its state directory. */
    snprintf(netns, sizeof(netns), "%s/state/null-netns", b->dir);
    umount2(netns, MNT_DETACH);
    nftw(b->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static struct json_object *strings(const char *const *s)
{
    struct json_object *a = json_object_new_array();

    for (; *s; s++)
        json_object_array_add(a, json_object_new_string(*s));
    return a;
}

static void set(struct json_object *o, const char *key, struct json_object *value)
{
    json_object_object_add(o, key, value);
}

static void add_mount(struct json_object *mounts, const char *dest, const char *type, const char *source,
                      const char *const *options)
{
    struct json_object *m = json_object_new_object();

    set(m, "destination", json_object_new_string(dest));
    set(m, "type", json_object_new_string(type));
    set(m, "source", json_object_new_string(source));
    set(m, "options", strings(options));
    json_object_array_add(mounts, m);
}

static struct json_object *make_config(const char *rootfs, const char *workloads, const char *programs, const char *const *args)
{
    static const char *const caps[] = {"CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_FSETID", "CAP_KILL",
                                       "CAP_SETGID", "CAP_SETUID",       "CAP_SETPCAP", NULL};
    static const char *const sets[] = {"bounding", "effective", "permitted", NULL};
    static const char *const namespaces[] = {"pid", "network", "ipc", "uts", "mount", NULL};
    struct json_object *c = json_object_new_object(), *process = json_object_new_object(), *user = json_object_new_object();
    struct json_object *cap = json_object_new_object(), *root = json_object_new_object(), *mounts = json_object_new_array();
    struct json_object *linux_ = json_object_new_object(), *ns = json_object_new_array();

    set(user, "uid", json_object_new_int(0));
    set(user, "gid", json_object_new_int(0));
    for (int i = 0; sets[i]; i++)
        set(cap, sets[i], strings(caps));
    set(process, "user", user);
    set(process, "args", strings(args));
    set(process, "env", strings((const char *[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL}));
    set(process, "cwd", json_object_new_string("/"));
    set(process, "capabilities", cap);
    set(root, "path", json_object_new_string(rootfs));
    add_mount(mounts, "/proc", "proc", "proc", (const char *[]){NULL});
    add_mount(mounts, "/dev", "tmpfs", "tmpfs", (const char *[]){"nosuid", "mode=755", NULL});
    add_mount(mounts, "/dev/shm", "tmpfs", "shm", (const char *[]){"nosuid", "nodev", "mode=1777", NULL});
    add_mount(mounts, "/tmp", "tmpfs", "tmpfs", (const char *[]){"mode=1777", NULL});
    add_mount(mounts, "/bench/workloads", "bind", workloads, (const char *[]){"bind", "ro", NULL});
    add_mount(mounts, "/bench/programs.sh", "bind", programs, (const char *[]){"bind", "ro", NULL});
    for (int i = 0; namespaces[i]; i++) {
        struct json_object *n = json_object_new_object();

        set(n, "type", json_object_new_string(namespaces[i]));
        json_object_array_add(ns, n);
    }
    set(linux_, "namespaces", ns);
    set(c, "ociVersion", json_object_new_string("1.0.2"));
    set(c, "process", process);
    set(c, "root", root);
    set(c, "hostname", json_object_new_string("bench"));
    set(c, "mounts", mounts);
    set(c, "linux", linux_);
    return c;
}

/* A root with only the mount points; enough for the static workloads. */
static int make_empty_root(const char *root)
{
    static const char *const dirs[] = {"", "/proc", "/dev", "/tmp", "/bench"};
    char path[256];

    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        snprintf(path, sizeof(path), "%s%s", root, dirs[i]);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return -errno;
    }
    return 0;
}

int bench_make_bundle(struct bench *b, const char *name, const char *rootfs, const char *const *args, struct error *e)
{
    char dir[128], root[160], file[160];
    struct json_object *config;
    int r;

    snprintf(dir, sizeof(dir), "%s/%s", b->dir, name);
    if (mkdir(dir, 0755) < 0)
        return error_set(e, errno, "%s", dir);
    snprintf(root, sizeof(root), "%s/rootfs", dir);
    if (!rootfs && make_empty_root(root) < 0)
        return error_set(e, errno, "%s", root);
    config = make_config(rootfs ? rootfs : root, b->workloads, b->programs, args);
    snprintf(file, sizeof(file), "%s/config.json", dir);
    r = json_object_to_file(file, config);
    json_object_put(config);
    return r < 0 ? error_set(e, errno, "%s", file) : 0;
}

void bench_add_sample(struct bench *b, int contender, const char *name, double value, bool rate)
{
    struct bench_row *row = NULL;

    for (int i = 0; i < b->nr_rows; i++)
        if (strcmp(b->row[i].name, name) == 0)
            row = &b->row[i];
    if (!row) {
        if (b->nr_rows == BENCH_MAX_ROWS)
            return;
        row = &b->row[b->nr_rows++];
        snprintf(row->name, sizeof(row->name), "%s", name);
        row->rate = rate;
    }
    if (row->nr[contender] < BENCH_MAX_ROUNDS)
        row->sample[contender][row->nr[contender]++] = value;
}

static void exec_runtime(const struct bench *b, const struct bench_contender *c, const char *bundle_dir, bool only_true,
                         int out)
{
    const char *argv[BENCH_MAX_ROWS + 8];
    char id[64];
    int n = 0;

    snprintf(id, sizeof(id), "bench-%d", (int)getpid());
    for (; c->argv[n]; n++)
        argv[n] = c->argv[n];
    if (c->is_native) {
        argv[n++] = b->workloads;
        if (only_true)
            argv[n++] = "true";
        for (int i = 0; !only_true && b->rows[i] && n < (int)ARRAY_SIZE(argv) - 1; i++)
            argv[n++] = b->rows[i];
    } else {
        argv[n++] = "run";
        argv[n++] = "--bundle";
        argv[n++] = bundle_dir;
        argv[n++] = id;
    }
    argv[n] = NULL;
    if (c->pinned) {
        cpu_set_t all, one;

        sched_getaffinity(0, sizeof(all), &all);
        CPU_ZERO(&one);
        for (int i = CPU_SETSIZE - 1; i >= 0; i--)
            if (CPU_ISSET(i, &all)) {
                CPU_SET(i, &one);
                break;
            }
        sched_setaffinity(0, sizeof(one), &one);
    }
    dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

/* Runs the bundle and files what it prints; with `time_row` the whole process's time is a sample of that row. */
int bench_run_container(struct bench *b, int contender, const char *bundle, const char *time_row, struct error *e)
{
    const struct bench_contender *c = &b->contender[contender];
    char dir[128], line[256], name[48], unit[8];
    struct timespec start, end;
    int fd[2], status;
    double value;
    pid_t pid;
    FILE *in;

    snprintf(dir, sizeof(dir), "%s/%s", b->dir, bundle);
    if (pipe2(fd, O_CLOEXEC) < 0)
        return error_set(e, errno, "pipe");
    clock_gettime(CLOCK_MONOTONIC, &start);
    pid = fork();
    if (pid == 0)
        exec_runtime(b, c, dir, strcmp(bundle, "true") == 0, fd[1]);
    close(fd[1]);
    if (pid < 0) {
        close(fd[0]);
        return error_set(e, errno, "fork");
    }
    in = fdopen(fd[0], "r");
    while (in && fgets(line, sizeof(line), in)) {
        int n = sscanf(line, "%47[^\t]\t%lf\t%7s", name, &value, unit);

        if (n >= 2)
            bench_add_sample(b, contender, name, value, n == 3);
    }
    if (in)
        fclose(in);
    waitpid(pid, &status, 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (status != 0)
        return error_set(e, 0, "%s: the %s container ended with wait status %#x", c->name, bundle, status);
    if (time_row)
        bench_add_sample(b, contender, time_row,
                         (double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec), false);
    return 0;
}
