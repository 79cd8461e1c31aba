/*
 * user_namespaces(7): who has CAP_SETUID may map any ids; others only their own, one to one, and for groups only after giving
 * up setgroups(2). What /etc/subuid lets a user have besides, the setuid programs of the package uidmap write for him.
 */
#include "cmd/runsc-c/sandbox/idmap.h"

#include "lib/compiler.h"
#include "sentry/boot/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The kernel's limit on lines of a map. */
#define MAP_MAX 340

struct map {
    const char *file, *helper;
    struct spec_idmap lines[MAP_MAX];
    size_t n;
};

static int write_file(pid_t child, const char *name, const char *text)
{
    char path[64];
    int fd, r = 0;

    snprintf(path, sizeof(path), "/proc/%d/%s", child, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        r = -errno;
    close(fd);
    return r;
}

/* All ids that we have, as they are. */
static int map_all(struct map *m)
{
    char path[64];
    unsigned int first, outside, count;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/%s", m->file);
    f = fopen(path, "re");
    if (!f)
        return -errno;
    while (m->n < MAP_MAX && fscanf(f, "%u %u %u", &first, &outside, &count) == 3)
        m->lines[m->n++] = (struct spec_idmap){first, first, count};
    fclose(f);
    return m->n ? 0 : -EINVAL;
}

static int choose(struct map *m, const struct spec_idmap *given, size_t nr_given, uint32_t inside, uint32_t own)
{
    if (nr_given > MAP_MAX)
        return -E2BIG;
    if (nr_given) {
        memcpy(m->lines, given, nr_given * sizeof(*given));
        m->n = nr_given;
        return 0;
    }
    if (geteuid() == 0)
        return map_all(m);
    m->lines[m->n++] = (struct spec_idmap){inside, own, 1};
    return 0;
}

static int by_helper(const struct map *m, pid_t child, struct error *e)
{
    const char *argv[3 + 3 * MAP_MAX];
    char numbers[1 + 3 * MAP_MAX][12];
    size_t n = 0;
    int status;
    pid_t pid;

    argv[n] = m->helper;
    snprintf(numbers[n], sizeof(numbers[n]), "%d", child);
    argv[n + 1] = numbers[n];
    n = 1;
    for (size_t i = 0; i < m->n; i++) {
        const uint32_t v[] = {m->lines[i].inside, m->lines[i].outside, m->lines[i].count};
        for (int k = 0; k < 3; k++, n++) {
            snprintf(numbers[n], sizeof(numbers[n]), "%u", v[k]);
            argv[n + 1] = numbers[n];
        }
    }
    argv[n + 1] = NULL;
    pid = fork();
    if (pid == 0) {
        execvp(m->helper, (char **)argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return error_set(e, errno, "%s", m->helper);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return error_set(e, 0, "mapping more ids than one's own needs %s (package uidmap)", m->helper);
    if (status != 0)
        return error_set(e, 0, "%s refused the map of ids: see /etc/subuid and /etc/subgid", m->helper);
    return 0;
}

static int write_map(const struct map *m, pid_t child, uint32_t own, struct error *e)
{
    char text[MAP_MAX * 36];
    size_t len = 0;
    int r;

    if (geteuid() != 0 && (m->n != 1 || m->lines[0].outside != own || m->lines[0].count != 1))
        return by_helper(m, child, e);
    if (geteuid() != 0 && strcmp(m->file, "gid_map") == 0 && (r = write_file(child, "setgroups", "deny")) < 0)
        return error_set(e, -r, "user namespace: setgroups");
    for (size_t i = 0; i < m->n; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%u %u %u\n", m->lines[i].inside, m->lines[i].outside,
                                m->lines[i].count);
    r = write_file(child, m->file, text);
    return r < 0 ? error_set(e, -r, "the host does not allow this map of ids: %s", m->file) : 0;
}

int idmap_write(const struct container_spec *spec, pid_t child, struct error *e)
{
    struct map uids = {.file = "uid_map", .helper = "newuidmap"}, gids = {.file = "gid_map", .helper = "newgidmap"};
    int r;

    r = choose(&uids, spec->uid_maps, spec->nr_uid_maps, spec->process.uid, geteuid());
    if (r == 0)
        r = choose(&gids, spec->gid_maps, spec->nr_gid_maps, spec->process.gid, getegid());
    if (r < 0)
        return error_set(e, -r, "user namespace: map of ids");
    r = write_map(&uids, child, geteuid(), e);
    return r < 0 ? r : write_map(&gids, child, getegid(), e);
}
