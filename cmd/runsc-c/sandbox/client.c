#include "cmd/runsc-c/sandbox/client.h"

#include "cmd/runsc-c/state.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* A sentry that is starved of CPU may take its time; one that is stuck is not waited for. */
enum { CALL_TIMEOUT_MS = 60000 };

static int receive(int sock, struct control_buf *b, int timeout_ms, RunscC__Reply **out, struct error *e)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    int r;

    control_buf_next(b);
    do {
        r = poll(&p, 1, timeout_ms);
        if (r == 0)
            return error_set(e, ETIMEDOUT, "control channel");
        r = r < 0 && errno == EINTR ? 0 : control_recv(sock, b);
    } while (r == 0);
    if (r < 0)
        return error_set(e, -r, "control channel");
    *out = runsc_c__reply__unpack(NULL, control_buf_size(b), b->data + 4);
    return *out ? 0 : error_set(e, EPROTO, "control channel");
}

int client_receive(int sock, struct control_buf *b, RunscC__Reply **out, struct error *e)
{
    return receive(sock, b, -1, out, e);
}

int client_call(int sock, RunscC__Request *q, const int *fds, int nr_fds, RunscC__Reply **out, struct error *e)
{
    struct control_buf b = {0};
    int r = control_send(sock, &q->base, fds, nr_fds);

    if (r < 0)
        return error_set(e, -r, "control channel");
    r = receive(sock, &b, CALL_TIMEOUT_MS, out, e);
    control_buf_fini(&b);
    if (r < 0)
        return r;
    if ((*out)->error == 0)
        return 0;
    r = -(*out)->error;
    error_set(e, 0, "%s", (*out)->message);
    runsc_c__reply__free_unpacked(*out, NULL);
    *out = NULL;
    return r;
}

int client_connect(struct state_dir *d, struct error *e)
{
    int sock = state_connect(d);

    if (sock == -ECONNREFUSED || sock == -ENOENT)
        return error_set(e, 0, "container %s is not running", d->id);
    return sock < 0 ? error_set(e, -sock, "container %s: control socket", d->id) : sock;
}

int client_ask(struct state_dir *d, bool ps, RunscC__Reply **out, struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    int sock = client_connect(d, e), r;

    if (sock < 0)
        return sock;
    q.what_case = ps ? RUNSC_C__REQUEST__WHAT_PS : RUNSC_C__REQUEST__WHAT_STATE;
    q.ps = ps; /* in one union with `state` */
    r = client_call(sock, &q, NULL, 0, out, e);
    close(sock);
    return r;
}

int client_simple(struct state_dir *d, RunscC__Request *q, struct error *e)
{
    RunscC__Reply *reply = NULL;
    int sock = client_connect(d, e), r;

    if (sock < 0)
        return sock;
    r = client_call(sock, q, NULL, 0, &reply, e);
    if (r == 0)
        runsc_c__reply__free_unpacked(reply, NULL);
    close(sock);
    return r;
}

int client_kill(struct state_dir *d, int pid, int signo, bool all, struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Kill kill = RUNSC_C__KILL__INIT;

    kill.signal = signo;
    kill.pid = pid;
    kill.all = all;
    q.what_case = RUNSC_C__REQUEST__WHAT_KILL;
    q.kill = &kill;
    return client_simple(d, &q, e);
}
