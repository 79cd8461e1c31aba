/*
 * As much of systemd's manager as the cgroup driver talks to, on the bus that DBUS_SYSTEM_BUS_ADDRESS names:
 *
 *     fake-systemd DIRECTORY     where version 2 or the hierarchy name=systemd is mounted
 *
 * StartTransientUnit makes DIRECTORY/SLICE/UNIT (the slice as one name, for slices without dashes) with the given processes in
 * it, and prints what it was asked for; StopUnit and ResetFailedUnit print their unit.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

static const char *base;

static void move(const char *dir, uint32_t pid)
{
    char path[1100];
    int fd;

    snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || dprintf(fd, "%u", pid) < 0)
        fprintf(stderr, "fake-systemd: %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static int take_property(sd_bus_message *m, char *slice, size_t size, uint32_t *pids, size_t *nr)
{
    const char *name, *type, *text;
    char kind;
    int r = sd_bus_message_enter_container(m, 'r', "sv");

    if (r <= 0)
        return r;
    sd_bus_message_read(m, "s", &name);
    sd_bus_message_peek_type(m, &kind, &type);
    printf(" %s", name);
    if (strcmp(name, "Slice") == 0) {
        sd_bus_message_read(m, "v", "s", &text);
        snprintf(slice, size, "%s", text);
    } else if (strcmp(name, "PIDs") == 0) {
        const void *data;
        size_t bytes;
        sd_bus_message_enter_container(m, 'v', "au");
        sd_bus_message_read_array(m, 'u', &data, &bytes);
        *nr = bytes / sizeof(*pids);
        memcpy(pids, data, bytes < 16 * sizeof(*pids) ? bytes : 16 * sizeof(*pids));
        sd_bus_message_exit_container(m);
    } else if (strcmp(type, "t") == 0) {
        uint64_t n;
        sd_bus_message_read(m, "v", "t", &n);
        printf("=%llu", (unsigned long long)n);
    } else {
        sd_bus_message_skip(m, "v");
    }
    sd_bus_message_exit_container(m);
    return 1;
}

static int start_unit(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    char slice[256] = "", dir[1024];
    uint32_t pids[16];
    const char *unit, *mode;
    size_t nr = 0;

    sd_bus_message_read(m, "ss", &unit, &mode);
    printf("start %s", unit);
    sd_bus_message_enter_container(m, 'a', "(sv)");
    while (take_property(m, slice, sizeof(slice), pids, &nr) > 0)
        ;
    sd_bus_message_exit_container(m);
    printf("\n");
    fflush(stdout);
    snprintf(dir, sizeof(dir), "%s/%s", base, slice);
    mkdir(dir, 0755);
    snprintf(dir, sizeof(dir), "%s/%s/%s", base, slice, unit);
    if (mkdir(dir, 0755) < 0)
        return sd_bus_error_set_errno(error, errno);
    for (size_t i = 0; i < nr; i++)
        move(dir, pids[i]);
    return sd_bus_reply_method_return(m, "o", "/job/1");
}

static int stop_unit(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    const char *unit, *mode;

    sd_bus_message_read(m, "ss", &unit, &mode);
    printf("stop %s\n", unit);
    fflush(stdout);
    return sd_bus_reply_method_return(m, "o", "/job/2");
}

static int reset_unit(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", start_unit, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("StopUnit", "ss", "o", stop_unit, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ResetFailedUnit", "s", "", reset_unit, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int main(int argc, char **argv)
{
    sd_bus *bus = NULL;

    base = argc > 1 ? argv[1] : "/sys/fs/cgroup";
    if (sd_bus_open_system(&bus) < 0 ||
        sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", vtable, NULL) <
            0 ||
        sd_bus_request_name(bus, "org.freedesktop.systemd1", 0) < 0)
        return 1;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int r = sd_bus_process(bus, NULL);
        if (r < 0)
            return 1;
        if (r == 0)
            sd_bus_wait(bus, (uint64_t)-1);
    }
}
