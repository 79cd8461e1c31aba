/*
 * Terminals: pseudo-terminal pairs and host terminals, both with our own N_TTY line discipline.
 *
 * A `struct tty` is what programs have as their terminal (the slave of a pty). Its far end is either a guest program that
 * opened /dev/ptmx, or a descriptor of the host (tty_create_host). Bytes from the far end go through the line discipline's
 * input side (n_tty_input.c: editing, echo, signals) to readers; what programs write goes through its output side
 * (n_tty_output.c) into a ring that the far end drains. Every terminal belongs to a devpts instance, which gives it a name.
 *
 * Locks: tty->lock guards a terminal and its far end. Under it only wait queues are taken. Signals that input raises are noted
 * and sent by tty_unlock() after the lock is dropped, because sending takes tasks_lock. devpts has a lock of its own, outside
 * tty->lock.
 */
#ifndef SENTRY_FS_TTY_TTY_H
#define SENTRY_FS_TTY_TTY_H

#include "lib/compiler.h"

#include <sys/types.h>

struct file;
struct inode;
struct kernel;
struct super_block;
struct tty;
struct tty_jobctl;
struct vfs_caller;

struct tty *tty_get(struct tty *tty);
void tty_put(struct tty *tty);
/* 136:N, as /proc/PID/stat shows it. */
dev_t tty_rdev(const struct tty *tty);
struct tty *tty_of_jobctl(struct tty_jobctl *job);
struct tty_jobctl *tty_jobctl(struct tty *tty);

/*
 * A terminal whose far end is a descriptor of the host, for a container's console. If the descriptor is a terminal, it is set
 * to raw mode, and window size and baud rates go to and fro; else (a pipe, a socket) bytes just pass. The terminal appears in
 * `devpts` as the next number. `in_fd` and `out_fd` (which may be the same) stay open and belong to the terminal from then on.
 * The first terminal made becomes what /dev/console opens.
 */
int must_check tty_create_host(struct kernel *k, struct super_block *devpts, int in_fd, int out_fd, struct tty **out);
/* The same, in the devpts mounted on /dev/pts of the caller, opened for reading and writing by its name there: what a
 * container's descriptors 0, 1 and 2 are to be. -ENOENT without such a mount. */
int must_check tty_open_host(struct kernel *k, const struct vfs_caller *c, int host_fd, struct file **out);
/* The host's window size has changed: take it over and tell the foreground group by SIGWINCH. */
void tty_host_resize(struct tty *tty);
/* Gives the host's terminal back its old mode. To be called before the sentry exits. */
void tty_host_restore(struct tty *tty);
/* The terminal of an open file, referenced, or NULL: for resize by descriptor and vhangup. */
struct tty *tty_of_file(struct file *f);
/* vhangup(2): as if the line had been dropped. */
void tty_vhangup(struct tty *tty);

/* Openers of device nodes, see sentry/fs/dev. */
int tty_open_slave(struct inode *inode, struct file *f, const struct vfs_caller *c);   /* 136:* */
int tty_open_current(struct inode *inode, struct file *f, const struct vfs_caller *c); /* /dev/tty, 5:0 */
int tty_open_console(struct inode *inode, struct file *f, const struct vfs_caller *c); /* 5:1 */
int tty_open_ptmx(struct inode *inode, struct file *f, const struct vfs_caller *c);    /* 5:2 */

#endif
