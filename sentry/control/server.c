/*
 * One struct conn per client, with its requests served in order as they arrive. Nothing here blocks: a client that does not
 * take its replies, which are small, is dropped. Who asked to wait for init, and the processes that a client started by exec,
 * hang on the connection; exec processes started with kill_on_close die with it.
 *
 * The end of init is the end of the container, but as in a pid namespace of Linux the others end first: whoever stands in on
 * the host for a process that came by exec is told its status and given a moment to exit with it, so that the engine sees those
 * exits before the container's. (dockerd 20.10 forgets a container at its exit, and leaves hanging who waits for an exec in it
 * then.)
 */
#include "sentry/control/server.h"

#include "lib/list.h"
#include "lib/log.h"
#include "lib/memfile.h"
#include "platform/platform.h"
#include "sentry/control/message.h"
#include "sentry/host/loop.h"
#include "sentry/kernel/kernel.h"
#include "sentry/socket/net.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long the end of init waits for stand-ins, in seconds: one may be stopped. */
#define STAND_IN_PATIENCE 2.0

struct control_server {
    struct sandbox *sb;
    struct sandbox_stdio io; /* for start */
    bool may_start;
    bool ending; /* init has exited, stand-ins have not */
    ev_io listener;
    ev_timer patience;
    struct list_head conns;
};

struct conn {
    struct control_server *s;
    struct list_head node;
    ev_io io;
    int fd;
    struct control_buf in;
    bool waits;       /* for init */
    bool is_stand_in; /* has started a process */
    uint64_t wait_id;
    struct list_head execs;
};

/* Lives until the process has exited, longer than its connection if need be. */
struct exec {
    struct sandbox_process proc;
    struct control_server *s;
    struct list_head node;
    struct conn *conn; /* NULL when the client has gone */
    uint64_t id;
    bool kill_on_close;
};

static bool has_stand_ins(struct control_server *s)
{
    struct conn *c;

    list_for_each_entry(c, &s->conns, node) {
        if (c->is_stand_in)
            return true;
    }
    return false;
}

static void conn_close(struct conn *c)
{
    struct control_server *s = c->s;
    struct exec *x, *next;

    list_for_each_entry_safe(x, next, &c->execs, node) {
        x->conn = NULL;
        list_del_init(&x->node);
        if (x->kill_on_close)
            sandbox_kill(c->s->sb, x->proc.pid, SIGKILL, false);
    }
    ev_io_stop(host_loop_ev(sandbox_loop(c->s->sb)), &c->io);
    close(c->fd);
    list_del_init(&c->node);
    control_buf_fini(&c->in);
    free(c);
    if (s->ending && !has_stand_ins(s))
        sandbox_end(s->sb);
}

/* False: the connection is gone. */
static bool reply(struct conn *c, RunscC__Reply *r)
{
    if (control_send(c->fd, &r->base, NULL, 0) == 0)
        return true;
    conn_close(c);
    return false;
}

static bool reply_result(struct conn *c, uint64_t id, int err, const struct error *e)
{
    RunscC__Reply r = RUNSC_C__REPLY__INIT;

    r.id = id;
    r.error = -err;
    r.message = (char *)(err < 0 && e ? e->text : "");
    return reply(c, &r);
}

static bool reply_exit(struct conn *c, uint64_t id, int wstatus)
{
    RunscC__Reply r = RUNSC_C__REPLY__INIT;
    RunscC__Exit x = RUNSC_C__EXIT__INIT;

    x.wait_status = wstatus;
    r.id = id;
    r.exit = &x;
    return reply(c, &r);
}

static bool serve_state(struct conn *c, const RunscC__Request *q)
{
    struct kernel *k = sandbox_kernel(c->s->sb);
    RunscC__Reply r = RUNSC_C__REPLY__INIT;
    RunscC__State st = RUNSC_C__STATE__INIT;
    const char *netns = NULL;

    st.started = sandbox_started(c->s->sb);
    st.paused = atomic_load(&k->paused);
    st.host_pid = getpid();
    st.platform = (char *)platform_name(k->platform);
    mutex_lock(&k->tasks_lock);
    st.tasks = k->nr_tasks;
    st.pids_limit = k->max_tasks;
    mutex_unlock(&k->tasks_lock);
    st.memory_bytes = memfile_used(k->memfile);
    st.wants_network = sandbox_wants_network(c->s->sb, &netns);
    st.netns = (char *)(netns ? netns : "");
    st.syscalls = atomic_load(&k->nr_syscalls);
    r.id = q->id;
    r.state = &st;
    return reply(c, &r);
}

/* The network that came along with a request to start: its descriptors are the sandbox's from here on. */
static int take_network(struct conn *c, const RunscC__Request *q, struct error *e)
{
    struct net_config *nc;
    int *fds[NET_CONFIG_FDS], n;

    if (q->network.len == 0)
        return 0;
    if (q->network.len != sizeof(*nc))
        return error_set(e, 0, "the network's description is of another version");
    nc = malloc(sizeof(*nc));
    if (!nc)
        return error_set(e, ENOMEM, "network");
    memcpy(nc, q->network.data, sizeof(*nc));
    n = net_config_fds(nc, fds);
    if (nc->size != sizeof(*nc) || n != c->in.nr_fds) {
        free(nc);
        return error_set(e, 0, "the network's description and its descriptors do not match");
    }
    for (int i = 0; i < n; i++)
        *fds[i] = c->in.fds[i];
    c->in.nr_fds = 0;
    sandbox_set_network(c->s->sb, nc);
    return 0;
}

static bool serve_start(struct conn *c, const RunscC__Request *q)
{
    struct error e = {""};
    int r;

    if (!c->s->may_start || sandbox_started(c->s->sb)) {
        r = error_set(&e, 0, "cannot start a container that has been started");
    } else {
        c->s->may_start = false;
        r = take_network(c, q, &e);
        if (r == 0)
            r = sandbox_start(c->s->sb, &c->s->io, &e);
        if (r < 0)
            sandbox_stop(c->s->sb, 127 << 8);
    }
    return reply_result(c, q->id, r, &e);
}

static bool serve_kill(struct conn *c, const RunscC__Request *q)
{
    struct error e = {""};
    const RunscC__Kill *kill = q->kill;
    int r;

    if (kill->signal < 1 || kill->signal > 64) {
        r = error_set(&e, 0, "invalid signal %d", kill->signal);
    } else if (!sandbox_started(c->s->sb)) {
        /* As runc: what would be init dies of it, so the container is stopped. */
        sandbox_stop(c->s->sb, kill->signal);
        r = 0;
    } else {
        r = sandbox_kill(c->s->sb, kill->pid, kill->signal, kill->all);
        if (r < 0)
            error_set(&e, -r, "kill");
    }
    return reply_result(c, q->id, r, &e);
}

static void exec_exited(struct sandbox_process *p, int wstatus)
{
    struct exec *x = container_of(p, struct exec, proc);

    if (x->conn) {
        list_del_init(&x->node);
        reply_exit(x->conn, x->id, wstatus);
    }
    free(x);
}

static bool serve_exec(struct conn *c, const RunscC__Request *q)
{
    RunscC__Reply ok = RUNSC_C__REPLY__INIT;
    struct spec_process spec;
    struct sandbox_stdio io;
    struct error e = {""};
    struct exec *x = NULL;
    int r;

    if (c->in.nr_fds < 3 || !q->exec->process)
        return reply_result(c, q->id, error_set(&e, 0, "exec needs a process and three descriptors"), &e);
    r = control_process_unpack(q->exec->process, &spec);
    if (r < 0)
        return reply_result(c, q->id, error_set(&e, -r, "exec"), &e);
    x = calloc(1, sizeof(*x));
    if (!x) {
        r = error_set(&e, ENOMEM, "exec");
    } else if (!sandbox_started(c->s->sb) || c->s->ending) {
        r = error_set(&e, 0, "cannot exec in a container that is not running");
    } else {
        memcpy(io.fd, c->in.fds, sizeof(io.fd));
        io.nr_extra = c->in.nr_fds - 3;
        memcpy(io.extra, c->in.fds + 3, (size_t)io.nr_extra * sizeof(int));
        c->in.nr_fds = 0;
        x->proc.exited = exec_exited;
        r = sandbox_exec(c->s->sb, &spec, &io, &x->proc, &e);
    }
    control_process_unpack_free(&spec);
    if (r < 0 || !x) {
        free(x);
        return reply_result(c, q->id, r, &e);
    }
    x->s = c->s;
    x->conn = c;
    x->id = q->id;
    x->kill_on_close = q->exec->kill_on_close;
    c->is_stand_in = true;
    list_add_tail(&x->node, &c->execs);
    ok.id = q->id;
    ok.pid = x->proc.pid;
    return reply(c, &ok);
}

static bool serve_resize(struct conn *c, const RunscC__Request *q)
{
    struct exec *x;

    list_for_each_entry(x, &c->execs, node) {
        if (x->proc.pid == q->resize)
            sandbox_resize(c->s->sb, &x->proc);
    }
    return reply_result(c, q->id, 0, NULL);
}

static bool serve_pause(struct conn *c, const RunscC__Request *q)
{
    sandbox_pause(c->s->sb, q->pause);
    return reply_result(c, q->id, 0, NULL);
}

static bool serve_ps(struct conn *c, const RunscC__Request *q)
{
    RunscC__Reply r = RUNSC_C__REPLY__INIT;
    struct sandbox_process_info *list;
    RunscC__ProcessInfo *infos, **pointers;
    size_t n = sandbox_list(c->s->sb, &list);
    bool alive;

    infos = calloc(n + 1, sizeof(*infos));
    pointers = calloc(n + 1, sizeof(RunscC__ProcessInfo *));
    for (size_t i = 0; infos && pointers && i < n; i++) {
        pointers[i] = &infos[i];
        runsc_c__process_info__init(&infos[i]);
        infos[i].pid = list[i].pid;
        infos[i].ppid = list[i].ppid;
        infos[i].uid = list[i].uid;
        infos[i].threads = list[i].threads;
        infos[i].cpu_ns = list[i].cpu_ns;
        infos[i].started_ns = list[i].started_ns;
        infos[i].command = list[i].command;
    }
    r.id = q->id;
    r.n_processes = infos && pointers ? n : 0;
    r.processes = pointers;
    alive = reply(c, &r);
    free(infos);
    free(pointers);
    free(list);
    return alive;
}

static bool serve_update(struct conn *c, const RunscC__Request *q)
{
    struct limits shown = {0};

    for (size_t i = 0; i < q->update->n_shown_values && i < NR_LIMITS; i++)
        if (q->update->shown & 1U << i)
            limits_put(&shown, (enum limit)i, q->update->shown_values[i]);
    sandbox_set_limits(c->s->sb, q->update->pids_limit, q->update->memory_limit, &shown);
    return reply_result(c, q->id, 0, NULL);
}

static bool serve_debug(struct conn *c, const RunscC__Request *q)
{
    struct kernel *k = sandbox_kernel(c->s->sb);
    struct error e;
    int r;

    if (q->debug->pcap == 1 && c->in.nr_fds == 1) {
        const char *name = q->debug->interface;

        r = net_pcap_start(k->net, name && name[0] ? name : NULL, c->in.fds[0]);
        if (r < 0)
            return reply_result(c, q->id, error_set(&e, -r, "capturing frames"), &e);
        c->in.nr_fds = 0;
    } else if (q->debug->pcap == 2) {
        net_pcap_stop(k->net);
    } else if (c->in.nr_fds == 1) {
        log_init(c->in.fds[0], q->debug->level < 0 ? LOG_LEVEL_INFO : (enum log_level)q->debug->level);
        c->in.nr_fds = 0;
    }
    if (q->debug->strace >= 0)
        k->strace = q->debug->strace == 1;
    return reply_result(c, q->id, 0, NULL);
}

/* False: the connection is gone. */
static bool serve(struct conn *c, const RunscC__Request *q)
{
    struct error e;

    switch (q->what_case) {
    case RUNSC_C__REQUEST__WHAT_STATE:
        return serve_state(c, q);
    case RUNSC_C__REQUEST__WHAT_START:
        return serve_start(c, q);
    case RUNSC_C__REQUEST__WHAT_KILL:
        return serve_kill(c, q);
    case RUNSC_C__REQUEST__WHAT_EXEC:
        return serve_exec(c, q);
    case RUNSC_C__REQUEST__WHAT_WAIT:
        c->waits = true;
        c->wait_id = q->id;
        return true;
    case RUNSC_C__REQUEST__WHAT_RESIZE:
        return serve_resize(c, q);
    case RUNSC_C__REQUEST__WHAT_PAUSE:
        return serve_pause(c, q);
    case RUNSC_C__REQUEST__WHAT_PS:
        return serve_ps(c, q);
    case RUNSC_C__REQUEST__WHAT_UPDATE:
        return serve_update(c, q);
    case RUNSC_C__REQUEST__WHAT_DEBUG:
        return serve_debug(c, q);
    default:
        return reply_result(c, q->id, error_set(&e, ENOSYS, "unknown request"), &e);
    }
}

static void on_readable(struct ev_loop *ev, ev_io *io, int revents)
{
    struct conn *c = container_of(io, struct conn, io);

    for (;;) {
        RunscC__Request *q;
        bool alive;
        int r = control_recv(c->fd, &c->in);

        if (r == 0)
            return;
        q = r > 0 ? runsc_c__request__unpack(NULL, control_buf_size(&c->in), c->in.data + 4) : NULL;
        if (!q) {
            if (r != -ECONNRESET)
                log_warn("control: dropping a client that sent nonsense (%d)", r);
            conn_close(c);
            return;
        }
        alive = serve(c, q);
        runsc_c__request__free_unpacked(q, NULL);
        if (!alive)
            return;
        control_buf_next(&c->in);
    }
}

static void on_connect(struct ev_loop *ev, ev_io *io, int revents)
{
    struct control_server *s = container_of(io, struct control_server, listener);
    int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct conn *c = fd >= 0 ? calloc(1, sizeof(*c)) : NULL;

    if (!c) {
        if (fd >= 0)
            close(fd);
        return;
    }
    c->s = s;
    c->fd = fd;
    list_init(&c->execs);
    list_add_tail(&c->node, &s->conns);
    ev_io_init(&c->io, on_readable, fd, EV_READ);
    ev_io_start(ev, &c->io);
}

static void out_of_patience(struct ev_loop *ev, ev_timer *t, int revents)
{
    sandbox_end(container_of(t, struct control_server, patience)->sb);
}

static bool on_init_exit(void *arg, int wstatus)
{
    struct control_server *s = arg;
    struct conn *c, *next;

    if (has_stand_ins(s)) {
        s->ending = true;
        sandbox_kill(s->sb, 0, SIGKILL, true);
        ev_timer_init(&s->patience, out_of_patience, STAND_IN_PATIENCE, 0);
        ev_timer_start(host_loop_ev(sandbox_loop(s->sb)), &s->patience);
    }

    list_for_each_entry_safe(c, next, &s->conns, node) {
        if (c->waits) {
            c->waits = false;
            reply_exit(c, c->wait_id, wstatus);
        }
    }
    return !s->ending;
}

int control_server_create(struct sandbox *sb, int listen_fd, const struct sandbox_stdio *io, struct control_server **out)
{
    struct control_server *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->sb = sb;
    if (io) {
        s->io = *io;
        s->may_start = true;
    }
    list_init(&s->conns);
    ev_io_init(&s->listener, on_connect, listen_fd, EV_READ);
    ev_io_start(host_loop_ev(sandbox_loop(sb)), &s->listener);
    sandbox_on_exit(sb, on_init_exit, s);
    *out = s;
    return 0;
}
