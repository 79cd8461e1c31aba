/*
 * Files that are descriptors of the host: what a container gets as stdin, stdout and stderr when it has no terminal. Reads and
 * writes go to the descriptor itself, so that its position, O_APPEND and whatever shares it behave as on the host.
 */
#ifndef SENTRY_HOST_HOST_FILE_H
#define SENTRY_HOST_HOST_FILE_H

#include "lib/compiler.h"

struct file;
struct host_loop;

/*
 * Takes over `fd`, also when it fails. `*out` has one reference. -EISDIR: a directory would be a way to the host's other files;
 * -EOPNOTSUPP: it is nothing that a guest could have of us.
 */
int must_check host_file_create(struct host_loop *loop, int fd, struct file **out);

#endif
