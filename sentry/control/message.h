/*
 * Messages of the control channel: protobuf-c, each behind a 32-bit length, with descriptors on its first byte.
 * The receiver bounds what it accepts; a peer that sends nonsense is disconnected.
 */
#ifndef SENTRY_CONTROL_MESSAGE_H
#define SENTRY_CONTROL_MESSAGE_H

#include "lib/compiler.h"
#include "sentry/boot/net_config.h"
#include "sentry/boot/spec.h"

#include "sentry/control/control.pb-c.h" /* generated */

enum { CONTROL_MAX_MESSAGE = 4 << 20, CONTROL_MAX_FDS = 3 + SPEC_EXTRA_FDS };

/* An incoming message as it grows. Zeroed to begin with. */
_Static_assert(CONTROL_MAX_FDS >= NET_CONFIG_FDS, "start sends the network's descriptors");
struct control_buf {
    uint8_t *data;
    size_t len, size;
    int fds[CONTROL_MAX_FDS];
    int nr_fds;
};
void control_buf_fini(struct control_buf *b);
/*
 * Reads what is there. 1: a whole message is at data + 4, of control_buf_size(); 0: more is to come (or -EAGAIN on a
 * non-blocking socket); -ECONNRESET at the end; another -errno on nonsense.
 */
int control_recv(int sock, struct control_buf *b);
size_t control_buf_size(const struct control_buf *b);
/* Makes room for the next. Descriptors that nobody took are closed. */
void control_buf_next(struct control_buf *b);

/* Sends the whole of `msg` (blocking or not, as the socket is; -EAGAIN is final). */
int must_check control_send(int sock, const ProtobufCMessage *msg, const int *fds, int nr_fds);

/* Between struct spec_process and its message. Results point into their source; arrays are allocated and freed by `_free`. */
int must_check control_process_pack(const struct spec_process *p, RunscC__Process *out);
void control_process_pack_free(RunscC__Process *p);
int must_check control_process_unpack(const RunscC__Process *p, struct spec_process *out);
void control_process_unpack_free(struct spec_process *p);

#endif
