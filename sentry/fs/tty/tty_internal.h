/* What the files of the terminal layer share. */
#ifndef SENTRY_FS_TTY_TTY_INTERNAL_H
#define SENTRY_FS_TTY_TTY_INTERNAL_H

#include "lib/lock.h"
#include "lib/refcount.h"
#include "lib/waitq.h"
#include "sentry/fs/tty/tty.h"
#include "sentry/host/loop.h"
#include "sentry/kernel/session.h"
#include "vfs/file.h"

#include <asm/termbits.h>
#include <sys/ioctl.h>
#include <time.h>

#define N_TTY_BUF 4096

/* A byte queue. Positions only grow; `cap` is a power of two. */
struct tty_ring {
    unsigned char *buf; /* NULL until first used */
    uint32_t cap, head, tail;
};

static inline uint32_t ring_used(const struct tty_ring *r)
{
    return r->head - r->tail;
}
static inline uint32_t ring_space(const struct tty_ring *r)
{
    return r->cap - ring_used(r);
}
void ring_init(struct tty_ring *r, uint32_t cap);
/* Bytes moved: less than n when full, out of memory, or empty. */
size_t ring_put(struct tty_ring *r, const void *data, size_t n);
size_t ring_get(struct tty_ring *r, void *data, size_t n);

/* The input side's buffer: lines being edited and lines waiting for a reader. */
struct n_tty {
    unsigned char buf[N_TTY_BUF];  /* a ring indexed modulo N_TTY_BUF */
    uint64_t ends[N_TTY_BUF / 64]; /* bit set: the byte there ends a line (newline, EOL; or a NUL that stands for EOF) */
    uint32_t head, tail, canon_head;
    uint32_t column, canon_column; /* of the output cursor; where the current input line began */
    bool lnext;                    /* the next character is literal */
    bool erasing;                  /* within a \.../ of ECHOPRT */
    bool push;                     /* canon mode was entered with unterminated data */
};

struct tty {
    struct refcount ref;
    struct kernel *k; /* immutable, like index and pts */
    struct devpts *pts;
    int index;
    struct tty_jobctl job; /* tasks_lock */

    struct mutex lock;
    struct termios2 termios GUARDED_BY(lock);
    struct winsize winsize GUARDED_BY(lock);
    struct n_tty in GUARDED_BY(lock);
    struct tty_ring backlog GUARDED_BY(lock); /* from the far end, not yet taken by the line discipline */
    struct tty_ring out GUARDED_BY(lock);     /* to the far end */
    struct tty_ring echo GUARDED_BY(lock);    /* echoes that found `out` full or stopped */
    bool stopped GUARDED_BY(lock);            /* by ^S or TCOOFF */
    bool tco_stopped GUARDED_BY(lock);        /* by TCOOFF: only TCOON ends it */
    bool packet GUARDED_BY(lock);             /* TIOCPKT */
    uint8_t packet_status GUARDED_BY(lock);
    bool exclusive GUARDED_BY(lock);
    bool pt_locked GUARDED_BY(lock);         /* TIOCSPTLCK: the slave cannot be opened */
    bool master_open GUARDED_BY(lock);       /* or a host terminal */
    bool slave_closed GUARDED_BY(lock);      /* was open and is not: the master reads EIO */
    unsigned int nr_slaves GUARDED_BY(lock); /* open slave files */
    unsigned int hangups GUARDED_BY(lock);   /* files opened at an older count are hung up */
    uint32_t signals GUARDED_BY(lock);       /* bit n: signal n is to be sent by tty_unlock() */
    struct waitq wq, master_wq;

    /* Owner and mode of the name in devpts. */
    mode_t mode GUARDED_BY(lock);
    uid_t uid GUARDED_BY(lock);
    gid_t gid GUARDED_BY(lock);
    struct timespec atime, mtime, ctime GUARDED_BY(lock);

    struct tty_host *host; /* NULL: a pty; immutable */
};

struct tty_file {
    struct tty *tty;      /* referenced */
    unsigned int hangups; /* tty->hangups at open */
    bool master;
    struct path pts_root; /* masters: the root of their devpts, for TIOCGPTPEER; may be empty */
};

struct tty *tty_create(struct kernel *k, struct devpts *pts, int index);
static inline void tty_lock(struct tty *tty) ACQUIRE(tty->lock)
{
    mutex_lock(&tty->lock);
}
/* Drops the lock, lets a host's far end move bytes, then sends the signals that were noted. */
void tty_unlock(struct tty *tty) RELEASE(tty->lock);
static inline bool tty_file_hung_up(const struct tty *tty, const struct tty_file *tf) REQUIRES(tty->lock)
{
    return tf->hangups != tty->hangups;
}
/* Makes `f` an open file of the terminal. Consumes nothing. */
int tty_file_attach(struct tty *tty, struct file *f, bool master);

/* n_tty_input.c */
void n_tty_init(struct tty *tty);
/* From the far end; the count taken, less than n when the buffers are full. */
size_t tty_receive(struct tty *tty, const unsigned char *buf, size_t n) REQUIRES(tty->lock);
/* There is room again: goes on with the backlog. */
void tty_receive_backlog(struct tty *tty) REQUIRES(tty->lock);
void n_tty_flush_input(struct tty *tty) REQUIRES(tty->lock);
void n_tty_termios_changed(struct tty *tty, const struct termios2 *old) REQUIRES(tty->lock);
bool n_tty_input_available(const struct tty *tty, bool for_poll) REQUIRES(tty->lock);
/* Bytes that FIONREAD reports. */
size_t n_tty_readable(const struct tty *tty) REQUIRES(tty->lock);
/* Takes up to n bytes, in canonical mode of one line. `*line_done`: a line's end was reached. */
size_t n_tty_take(struct tty *tty, unsigned char *buf, size_t n, bool *line_done) REQUIRES(tty->lock);
/* A read has filled its buffer: an EOF mark right behind belongs to it. */
void n_tty_skip_eof(struct tty *tty) REQUIRES(tty->lock);

/* n_tty_output.c */
/* Through OPOST into `out`; the count of input bytes taken. */
size_t n_tty_write(struct tty *tty, const unsigned char *buf, size_t n) REQUIRES(tty->lock);
void n_tty_flush_echoes(struct tty *tty) REQUIRES(tty->lock);
void n_tty_echo_raw(struct tty *tty, unsigned char c) REQUIRES(tty->lock);
void n_tty_echo(struct tty *tty, unsigned char c) REQUIRES(tty->lock);
void n_tty_echo_erase_tab(struct tty *tty, uint32_t columns, bool after_tab) REQUIRES(tty->lock);
bool n_tty_is_continuation(const struct tty *tty, unsigned char c) REQUIRES(tty->lock);
void tty_stop(struct tty *tty) REQUIRES(tty->lock);
void tty_start(struct tty *tty) REQUIRES(tty->lock);
void tty_flush_output(struct tty *tty) REQUIRES(tty->lock);
void tty_packet_event(struct tty *tty, uint8_t clear, uint8_t set) REQUIRES(tty->lock);

/* tty_ioctl.c */
long tty_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);

/* tty_host.c */
void tty_host_kick(struct tty *tty) REQUIRES(tty->lock); /* writes out what `out` holds, asks for more input */
void tty_host_set_winsize(struct tty *tty) REQUIRES(tty->lock);
void tty_host_free(struct tty *tty);

/* devpts.c */
/* The terminal of a slave's inode, referenced; NULL when it is none or its master has gone. */
struct tty *devpts_inode_tty(struct inode *inode);
/* A new terminal with the lowest free number; -ENOSPC when the instance is full. */
int must_check devpts_new_tty(struct super_block *sb, uid_t uid, gid_t gid, struct tty **out);
void devpts_remove(struct tty *tty);
bool devpts_is(const struct super_block *sb);

#define L(tty, flag)   ((tty)->termios.c_lflag & (flag))
#define I(tty, flag)   ((tty)->termios.c_iflag & (flag))
#define O(tty, flag)   ((tty)->termios.c_oflag & (flag))
#define CC(tty, which) ((tty)->termios.c_cc[which])

#endif
