/*
 * epoll(7): sets of files with what is awaited of each, and the list of those that may be ready.
 *
 * Blocking is the system-call layer's: it waits on the epoll file's own wq and collects again.
 */
#ifndef VFS_EPOLL_H
#define VFS_EPOLL_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"

#include <stdbool.h>
#include <sys/epoll.h>

struct file;
struct vfs_caller;

/* The kernel's struct epoll_event is glibc's: packed, 12 bytes on x86-64. */

/* Lets files that are closed leave their epoll sets. Once, at boot. */
void epoll_boot(void);
int must_check epoll_create_file(struct file **out);
bool file_is_epoll(const struct file *f);
/* epoll_ctl(2); `fd` is the number under which `target` is registered. Errors as there. */
int epoll_control(struct file *ep, int op, struct file *target, int fd, const struct epoll_event *ev);
/* Writes up to `max` ready events to guest memory. How many, 0 if none is ready, or -EFAULT. */
int epoll_collect(struct file *ep, const struct vfs_caller *c, guest_addr events, int max);
/* Whether collecting might find something: a cheap look without locks. */
bool epoll_maybe_ready(struct file *ep);

#endif
