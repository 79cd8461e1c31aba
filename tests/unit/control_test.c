/* The control channel's messages: sentry/control/message.c. */
#include "sentry/control/message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void make_pair(int s[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
}

static void send_kill(int sock, const int *fds, int nr_fds)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Kill kill = RUNSC_C__KILL__INIT;

    kill.signal = 15;
    q.id = 7;
    q.what_case = RUNSC_C__REQUEST__WHAT_KILL;
    q.kill = &kill;
    cr_assert_eq(control_send(sock, &q.base, fds, nr_fds), 0);
}

Test(control, a_message_and_its_descriptors_arrive)
{
    struct control_buf b = {0};
    RunscC__Request *q;
    int s[2], fds[2] = {0, 1};

    make_pair(s);
    send_kill(s[0], fds, 2);
    cr_assert_eq(control_recv(s[1], &b), 1);
    cr_assert_eq(b.nr_fds, 2);
    cr_assert_geq(fcntl(b.fds[0], F_GETFD), FD_CLOEXEC);
    q = runsc_c__request__unpack(NULL, control_buf_size(&b), b.data + 4);
    cr_assert(q && q->what_case == RUNSC_C__REQUEST__WHAT_KILL && q->kill->signal == 15 && q->id == 7);
    runsc_c__request__free_unpacked(q, NULL);
    control_buf_fini(&b);
}

Test(control, messages_behind_each_other_are_kept_apart)
{
    struct control_buf b = {0};
    int s[2];

    make_pair(s);
    send_kill(s[0], NULL, 0);
    send_kill(s[0], NULL, 0);
    cr_assert_eq(control_recv(s[1], &b), 1);
    control_buf_next(&b);
    cr_assert_eq(control_recv(s[1], &b), 1);
    control_buf_next(&b);
    cr_assert_eq(control_recv(s[1], &b), 0);
    control_buf_fini(&b);
}

Test(control, an_oversized_length_is_refused_before_it_is_allocated)
{
    struct control_buf b = {0};
    uint32_t huge = 0xffffffff;
    int s[2];

    make_pair(s);
    cr_assert_eq(write(s[0], &huge, 4), 4);
    cr_assert_eq(control_recv(s[1], &b), -EMSGSIZE);
    control_buf_fini(&b);
}

Test(control, the_end_in_the_middle_of_a_message_is_reported)
{
    struct control_buf b = {0};
    uint32_t size = 100;
    int s[2];

    make_pair(s);
    cr_assert_eq(write(s[0], &size, 4), 4);
    cr_assert_eq(control_recv(s[1], &b), 0);
    close(s[0]);
    cr_assert_eq(control_recv(s[1], &b), -ECONNRESET);
    control_buf_fini(&b);
}

Test(control, a_process_survives_the_journey)
{
    const char *argv[] = {"sh", "-c", "true", NULL}, *envp[] = {"A=1", NULL};
    gid_t groups[] = {4, 5};
    struct spec_rlimit limits[] = {{7, 100, UINT64_MAX}};
    struct spec_process out, in = {
                                 .argv = argv,
                                 .envp = envp,
                                 .cwd = "/tmp",
                                 .uid = 1,
                                 .gid = 2,
                                 .umask = -1,
                                 .groups = groups,
                                 .nr_groups = 2,
                                 .caps = {.effective = 1ULL << 40},
                                 .rlimits = limits,
                                 .nr_rlimits = 1,
                                 .no_new_privs = true,
                                 .oom_score_adj = -5,
                             };
    RunscC__Process p, *q;
    uint8_t buf[500];
    size_t n;

    cr_assert_eq(control_process_pack(&in, &p), 0);
    n = runsc_c__process__pack(&p, buf);
    control_process_pack_free(&p);
    q = runsc_c__process__unpack(NULL, n, buf);
    cr_assert(q);
    cr_assert_eq(control_process_unpack(q, &out), 0);
    cr_assert_str_eq(out.argv[2], "true");
    cr_assert_null(out.argv[3]);
    cr_assert_str_eq(out.envp[0], "A=1");
    cr_assert_str_eq(out.cwd, "/tmp");
    cr_assert(out.uid == 1 && out.gid == 2 && out.umask == -1 && out.nr_groups == 2 && out.groups[1] == 5);
    cr_assert(out.caps.effective == 1ULL << 40 && out.no_new_privs && out.oom_score_adj == -5);
    cr_assert(out.nr_rlimits == 1 && out.rlimits[0].resource == 7 && out.rlimits[0].hard == UINT64_MAX);
    control_process_unpack_free(&out);
    runsc_c__process__free_unpacked(q, NULL);
}

Test(control, a_process_without_arguments_is_refused)
{
    RunscC__Process p = RUNSC_C__PROCESS__INIT;
    struct spec_process out;

    cr_assert_eq(control_process_unpack(&p, &out), -EINVAL);
}
