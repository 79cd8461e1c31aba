/* Fuzzes what the sentry reads from its control socket: the input is what a client writes. */
#include "sentry/control/message.h"

#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_buf b = {0};
    int s[2];

    if (size > 100000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s) < 0)
        return 0;
    if (write(s[0], data, size) < 0)
        size = 0;
    while (control_recv(s[1], &b) > 0) {
        RunscC__Request *q = runsc_c__request__unpack(NULL, control_buf_size(&b), b.data + 4);
        struct spec_process p;

        if (q && q->what_case == RUNSC_C__REQUEST__WHAT_EXEC && q->exec->process &&
            control_process_unpack(q->exec->process, &p) == 0)
            control_process_unpack_free(&p);
        if (q)
            runsc_c__request__free_unpacked(q, NULL);
        control_buf_next(&b);
    }
    control_buf_fini(&b);
    close(s[0]);
    close(s[1]);
    return 0;
}
