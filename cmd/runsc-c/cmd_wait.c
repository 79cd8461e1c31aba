/* wait and debug: talk to a running sentry. */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"
#include "cmd/runsc-c/sandbox/client.h"
#include "cmd/runsc-c/sandbox/launch.h"
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int cmd_wait(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    struct control_buf b = {0};
    RunscC__Reply *reply;
    struct container c;
    int sock, r = container_peek(cli, argv[0], &c, e);

    if (r < 0)
        return r;
    sock = client_connect(&c.d, e);
    container_close(&c);
    if (sock < 0)
        return sock;
    q.what_case = RUNSC_C__REQUEST__WHAT_WAIT;
    q.wait = true;
    r = control_send(sock, &q.base, NULL, 0);
    if (r < 0 || client_receive(sock, &b, &reply, e) < 0)
        r = error_set(e, 0, "container %s was killed", argv[0]);
    else
        printf("{\"id\":\"%s\",\"exitStatus\":%d}\n", argv[0], exit_status_of(reply->exit ? reply->exit->wait_status : 0));
    close(sock);
    return r;
}

const struct command command_wait = {.name = "wait",
                                     .args = "ID",
                                     .help = "wait for a container to end, and print its exit status",
                                     .min_args = 1,
                                     .max_args = 1,
                                     .run = cmd_wait};

struct debug_opts {
    const char *log, *level, *strace, *pcap, *interface;
    bool pcap_stop;
};

static int change_log(struct container *c, const struct debug_opts *o, struct error *e)
{
    static const char *const levels[] = {"warn", "info", "debug"};
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Debug debug = RUNSC_C__DEBUG__INIT;
    RunscC__Reply *reply = NULL;
    int fd = -1, sock, r;

    debug.level = -1;
    debug.strace = -1;
    for (int i = 0; i < 3; i++)
        if (o->level && strcmp(o->level, levels[i]) == 0)
            debug.level = i;
    if (o->level && debug.level < 0)
        return error_set(e, 0, "--log-level: \"%s\" is none of warn, info, debug", o->level);
    if (o->strace && strcmp(o->strace, "on") != 0 && strcmp(o->strace, "off") != 0)
        return error_set(e, 0, "--strace: \"%s\" is neither on nor off", o->strace);
    if (o->level && !o->log)
        return error_set(e, 0, "--log-level: to which --log?");
    if (o->strace)
        debug.strace = strcmp(o->strace, "on") == 0;
    if (o->pcap && (o->log || o->pcap_stop))
        return error_set(e, 0, "--pcap goes with neither --log nor --pcap-stop");
    if (o->interface && !o->pcap)
        return error_set(e, 0, "--interface goes with --pcap");
    if (o->interface)
        debug.interface = (char *)o->interface;
    if (o->pcap || o->pcap_stop)
        debug.pcap = o->pcap ? 1 : 2;
    if (o->pcap && (fd = open(o->pcap, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0600)) < 0)
        return error_set(e, errno, "--pcap %s", o->pcap);
    if (o->log && (fd = open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
        return error_set(e, errno, "--log %s", o->log);
    sock = client_connect(&c->d, e);
    if (sock < 0)
        return sock;
    q.what_case = RUNSC_C__REQUEST__WHAT_DEBUG;
    q.debug = &debug;
    r = client_call(sock, &q, &fd, fd >= 0, &reply, e);
    if (r == 0)
        runsc_c__reply__free_unpacked(reply, NULL);
    close(sock);
    return r;
}

static int cmd_debug(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    const struct debug_opts *o = opts;
    RunscC__Reply *reply;
    struct container c;
    int r = container_peek(cli, argv[0], &c, e);

    if (r < 0)
        return r;
    if (o->log || o->level || o->strace || o->pcap || o->pcap_stop) {
        r = change_log(&c, o, e);
    } else if ((r = client_ask(&c.d, false, &reply, e)) == 0) {
        const RunscC__State *s = reply->state;
        printf("status %s\nplatform %s\nsentry %d\ntasks %u\nmemory %" PRIu64 "\nsyscalls %" PRIu64 "\n",
               container_status_name(container_status(&c)), s->platform, (int)state_process(c.doc), s->tasks, s->memory_bytes,
               s->syscalls);
        runsc_c__reply__free_unpacked(reply, NULL);
    }
    container_close(&c);
    return r;
}

#define O(name, field, value, help)                                          \
    {                                                                        \
        name, 0, OPT_STRING, offsetof(struct debug_opts, field), value, help \
    }
static const struct opt debug_opts[] = {
    O("log", log, "FILE", "have the sentry log to FILE from now on"),
    O("log-level", level, "LEVEL", "warn, info (default) or debug"),
    O("strace", strace, "on|off", "log every system call"),
    O("pcap", pcap, "FILE", "write the frames of an interface to FILE from now on"),
    O("interface", interface, "NAME", "which (default: the first that is not the loopback)"),
    {"pcap-stop", 0, OPT_FLAG, offsetof(struct debug_opts, pcap_stop), NULL, "write no more frames, of any"},
    OPT_END,
};
#undef O

const struct command command_debug = {
    .name = "debug",
    .args = "ID",
    .help = "print what a sentry says of itself, change what it logs, or capture frames",
    .opts = debug_opts,
    .opts_size = sizeof(struct debug_opts),
    .min_args = 1,
    .max_args = 1,
    .run = cmd_debug,
};
