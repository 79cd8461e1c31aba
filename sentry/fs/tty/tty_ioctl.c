/*
 * ioctl(2) on terminals, ioctl_tty(2). Most of them mean the slave whichever side they come from, as on Linux; rows say which
 * sides have the call, and whether a background process is stopped by SIGTTOU for trying it.
 */
#include "sentry/fs/tty/tty_internal.h"

#include "sentry/kernel/task.h"
#include "vfs/cred.h"
#include "vfs/fdtable.h"
#include "vfs/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

struct tty_call {
    struct file *f;
    struct tty_file *tf;
    struct tty *tty;
    const struct vfs_caller *c;
    struct task *t; /* NULL for the sentry's own calls */
    unsigned int cmd;
    guest_addr arg;
};

static int get_arg(const struct tty_call *x, void *dst, size_t n)
{
    return x->c->uaccess->copy_in(x->c, dst, x->arg, n);
}

static int put_arg(const struct tty_call *x, const void *src, size_t n)
{
    return x->c->uaccess->copy_out(x->c, x->arg, src, n);
}

static int put_int(const struct tty_call *x, int v)
{
    return put_arg(x, &v, sizeof(v));
}

/* Modes. */

struct old_termio {
    uint16_t iflag, oflag, cflag, lflag;
    uint8_t line, cc[8];
};

static const struct {
    unsigned int code, rate;
} bauds[] = {
    {B0, 0},
    {B50, 50},
    {B75, 75},
    {B110, 110},
    {B134, 134},
    {B150, 150},
    {B200, 200},
    {B300, 300},
    {B600, 600},
    {B1200, 1200},
    {B1800, 1800},
    {B2400, 2400},
    {B4800, 4800},
    {B9600, 9600},
    {B19200, 19200},
    {B38400, 38400},
    {B57600, 57600},
    {B115200, 115200},
    {B230400, 230400},
    {B460800, 460800},
    {B500000, 500000},
    {B576000, 576000},
    {B921600, 921600},
    {B1000000, 1000000},
    {B1152000, 1152000},
    {B1500000, 1500000},
    {B2000000, 2000000},
    {B2500000, 2500000},
    {B3000000, 3000000},
    {B3500000, 3500000},
    {B4000000, 4000000},
};

static unsigned int baud_rate(unsigned int code, unsigned int other)
{
    if (code == BOTHER)
        return other;
    for (size_t i = 0; i < ARRAY_SIZE(bauds); i++)
        if (bauds[i].code == code)
            return bauds[i].rate;
    return 0;
}

static void termios_set_speeds(struct termios2 *t)
{
    unsigned int in = (t->c_cflag & CIBAUD) >> IBSHIFT;

    t->c_ospeed = baud_rate(t->c_cflag & CBAUD, t->c_ospeed);
    t->c_ispeed = in == B0 ? t->c_ospeed : baud_rate(in, t->c_ispeed);
}

static bool flow_is_xon(const struct termios2 *t)
{
    return (t->c_iflag & IXON) && t->c_cc[VSTOP] == 023 && t->c_cc[VSTART] == 021;
}

static void set_termios(struct tty *tty, const struct termios2 *new_termios)
{
    struct termios2 old;

    tty_lock(tty);
    old = tty->termios;
    tty->termios = *new_termios;
    tty->termios.c_cflag = (tty->termios.c_cflag & ~(CSIZE | PARENB)) | CS8 | CREAD;
    if (flow_is_xon(&old) != flow_is_xon(&tty->termios) || ((old.c_lflag ^ tty->termios.c_lflag) & EXTPROC)) {
        uint8_t set = flow_is_xon(&tty->termios) ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP;
        if ((old.c_lflag ^ tty->termios.c_lflag) & EXTPROC)
            set |= TIOCPKT_IOCTL;
        tty_packet_event(tty, TIOCPKT_DOSTOP | TIOCPKT_NOSTOP, set);
    }
    n_tty_termios_changed(tty, &old);
    tty_unlock(tty);
}

static struct termios2 get_termios(struct tty *tty)
{
    struct termios2 t;

    tty_lock(tty);
    t = tty->termios;
    tty_unlock(tty);
    return t;
}

static long do_tcgets(struct tty_call *x)
{
    struct termios2 t = get_termios(x->tty);

    /* struct termios is how struct termios2 begins. */
    return put_arg(x, &t, x->cmd == TCGETS2 ? sizeof(t) : sizeof(struct termios));
}

static long do_tcsets(struct tty_call *x)
{
    bool two = x->cmd == TCSETS2 || x->cmd == TCSETSW2 || x->cmd == TCSETSF2;
    struct termios2 t = get_termios(x->tty);
    int r = get_arg(x, &t, two ? sizeof(t) : sizeof(struct termios));

    if (r)
        return r;
    termios_set_speeds(&t);
    if (x->cmd == TCSETSF || x->cmd == TCSETSF2) {
        tty_lock(x->tty);
        n_tty_flush_input(x->tty);
        tty_unlock(x->tty);
    }
    set_termios(x->tty, &t);
    return 0;
}

static long do_tcgeta(struct tty_call *x)
{
    struct termios2 t = get_termios(x->tty);
    struct old_termio old = {t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_line, {0}};

    memcpy(old.cc, t.c_cc, sizeof(old.cc));
    return put_arg(x, &old, sizeof(old));
}

static long do_tcseta(struct tty_call *x)
{
    struct termios2 t = get_termios(x->tty);
    struct old_termio old;
    int r = get_arg(x, &old, sizeof(old));

    if (r)
        return r;
    t.c_iflag = (t.c_iflag & 0xffff0000) | old.iflag;
    t.c_oflag = (t.c_oflag & 0xffff0000) | old.oflag;
    t.c_cflag = (t.c_cflag & 0xffff0000) | old.cflag;
    t.c_lflag = (t.c_lflag & 0xffff0000) | old.lflag;
    t.c_line = old.line;
    memcpy(t.c_cc, old.cc, sizeof(old.cc));
    termios_set_speeds(&t);
    if (x->cmd == TCSETAF) {
        tty_lock(x->tty);
        n_tty_flush_input(x->tty);
        tty_unlock(x->tty);
    }
    set_termios(x->tty, &t);
    return 0;
}

static long do_softcar(struct tty_call *x)
{
    struct termios2 t = get_termios(x->tty);
    int v, r;

    if (x->cmd == TIOCGSOFTCAR)
        return put_int(x, (t.c_cflag & CLOCAL) != 0);
    r = get_arg(x, &v, sizeof(v));
    if (r)
        return r;
    t.c_cflag = v ? t.c_cflag | CLOCAL : t.c_cflag & ~CLOCAL;
    set_termios(x->tty, &t);
    return 0;
}

static long do_getd(struct tty_call *x)
{
    return put_int(x, 0); /* N_TTY */
}

static long do_setd(struct tty_call *x)
{
    int which, r = get_arg(x, &which, sizeof(which));

    if (r)
        return r;
    return which == 0 ? 0 : -EINVAL;
}

static long do_locked_termios(struct tty_call *x)
{
    static const struct termios none;

    return put_arg(x, &none, sizeof(none));
}

/* Flow, queues. */

static long do_tcflsh(struct tty_call *x)
{
    struct tty *tty = x->tty;
    uint64_t what = x->arg.a;
    bool in = what == TCIFLUSH || what == TCIOFLUSH, out = what == TCOFLUSH || what == TCIOFLUSH;

    if (!in && !out)
        return -EINVAL;
    tty_lock(tty);
    if (x->tf->master ? out : in) {
        tty->backlog.tail = tty->backlog.head;
        n_tty_flush_input(tty);
    }
    if (x->tf->master ? in : out)
        tty_flush_output(tty);
    tty_unlock(tty);
    return 0;
}

/* A flow-control character for the far end, ahead of everything else that can be. */
static void send_xchar(struct tty *tty, unsigned char c) REQUIRES(tty->lock)
{
    if (c && ring_put(&tty->out, &c, 1))
        waitq_wake(&tty->master_wq, POLLIN | POLLRDNORM);
}

static long do_tcxonc(struct tty_call *x)
{
    struct tty *tty = x->tty;
    long r = 0;

    tty_lock(tty);
    switch (x->arg.a) {
    case TCOOFF:
        tty->tco_stopped = true;
        tty_stop(tty);
        break;
    case TCOON:
        if (tty->tco_stopped) {
            tty->tco_stopped = false;
            tty_start(tty);
        }
        break;
    case TCIOFF:
        send_xchar(tty, CC(tty, VSTOP));
        break;
    case TCION:
        send_xchar(tty, CC(tty, VSTART));
        break;
    default:
        r = -EINVAL;
    }
    tty_unlock(tty);
    return r;
}

/* Output leaves at once and there is no line to break. */
static long do_nothing(struct tty_call *x)
{
    return 0;
}

static long do_inq(struct tty_call *x)
{
    struct tty *tty = x->tty;
    size_t n;

    tty_lock(tty);
    n = x->tf->master ? ring_used(&tty->out) : n_tty_readable(tty);
    tty_unlock(tty);
    return put_int(x, n);
}

static long do_outq(struct tty_call *x)
{
    return put_int(x, 0);
}

static long do_sti(struct tty_call *x)
{
    struct tty_jobctl *mine = x->t ? tty_jobctl_current(x->t) : NULL;
    bool ours = mine == &x->tty->job;
    unsigned char ch;
    int r;

    if (mine)
        mine->put(mine);
    if (!ours && !cred_has_cap(x->c->cred, CAP_SYS_ADMIN))
        return -EPERM;
    r = get_arg(x, &ch, 1);
    if (r)
        return r;
    tty_lock(x->tty);
    tty_receive(x->tty, &ch, 1);
    tty_unlock(x->tty);
    return 0;
}

/* The window, exclusiveness, the device. */

static long do_gwinsz(struct tty_call *x)
{
    struct winsize ws;

    tty_lock(x->tty);
    ws = x->tty->winsize;
    tty_unlock(x->tty);
    return put_arg(x, &ws, sizeof(ws));
}

static long do_swinsz(struct tty_call *x)
{
    struct tty *tty = x->tty;
    struct winsize ws;
    int r = get_arg(x, &ws, sizeof(ws));

    if (r)
        return r;
    tty_lock(tty);
    if (memcmp(&ws, &tty->winsize, sizeof(ws)) != 0) {
        tty->winsize = ws;
        if (tty->host)
            tty_host_set_winsize(tty);
        tty->signals |= 1U << SIGWINCH;
    }
    tty_unlock(tty);
    return 0;
}

static long do_excl(struct tty_call *x)
{
    bool was;

    tty_lock(x->tty);
    was = x->tty->exclusive;
    if (x->cmd != TIOCGEXCL)
        x->tty->exclusive = x->cmd == TIOCEXCL;
    tty_unlock(x->tty);
    return x->cmd == TIOCGEXCL ? put_int(x, was) : 0;
}

static long do_gdev(struct tty_call *x)
{
    dev_t d = tty_rdev(x->tty);

    return put_int(x, (minor(d) & 0xff) | major(d) << 8 | (minor(d) & ~0xffU) << 12);
}

static long do_vhangup(struct tty_call *x)
{
    if (!cred_has_cap(x->c->cred, CAP_SYS_ADMIN))
        return -EPERM;
    tty_vhangup(x->tty);
    return 0;
}

/* Sessions. */

static long do_sctty(struct tty_call *x)
{
    bool admin = cred_has_cap(x->c->cred, CAP_SYS_ADMIN);

    if (!x->t)
        return -EPERM;
    return tty_jobctl_set(x->t, &x->tty->job, x->arg.a == 1 && admin, (x->f->mode & FMODE_READ) || admin);
}

static long do_notty(struct tty_call *x)
{
    return x->t ? tty_jobctl_detach(x->t, &x->tty->job) : -ENOTTY;
}

static long do_gpgrp(struct tty_call *x)
{
    pid_t id = 0;
    int r = !x->t                 ? -ENOTTY
            : x->cmd == TIOCGPGRP ? tty_jobctl_get_pgrp(x->t, &x->tty->job, x->tf->master, &id)
                                  : tty_jobctl_get_sid(x->t, &x->tty->job, x->tf->master, &id);

    return r ? r : put_int(x, id);
}

static long do_spgrp(struct tty_call *x)
{
    int pgid, r;

    if (!x->t)
        return -ENOTTY;
    r = tty_jobctl_check_write(x->t, &x->tty->job);
    if (r)
        return r == -EIO ? -ENOTTY : r;
    r = get_arg(x, &pgid, sizeof(pgid));
    if (r)
        return r;
    return pgid < 0 ? -EINVAL : tty_jobctl_set_pgrp(x->t, &x->tty->job, x->tf->master, pgid);
}

/* Masters. */

static long do_pkt(struct tty_call *x)
{
    struct tty *tty = x->tty;
    int v, r;

    if (x->cmd == TIOCGPKT) {
        tty_lock(tty);
        v = tty->packet;
        tty_unlock(tty);
        return put_int(x, v);
    }
    r = get_arg(x, &v, sizeof(v));
    if (r)
        return r;
    tty_lock(tty);
    if (v && !tty->packet)
        tty->packet_status = 0;
    tty->packet = v != 0;
    tty_unlock(tty);
    return 0;
}

static long do_ptlck(struct tty_call *x)
{
    struct tty *tty = x->tty;
    int v, r;

    if (x->cmd == TIOCGPTLCK) {
        tty_lock(tty);
        v = tty->pt_locked;
        tty_unlock(tty);
        return put_int(x, v);
    }
    r = get_arg(x, &v, sizeof(v));
    if (r)
        return r;
    tty_lock(tty);
    tty->pt_locked = v != 0;
    tty_unlock(tty);
    return 0;
}

static long do_gptn(struct tty_call *x)
{
    return put_int(x, x->tty->index);
}

static long do_sig(struct tty_call *x)
{
    uint64_t signo = x->arg.a;

    if (signo != SIGINT && signo != SIGQUIT && signo != SIGTSTP)
        return -EINVAL;
    tty_jobctl_signal(x->tty->k, &x->tty->job, signo);
    return 0;
}

static long do_gptpeer(struct tty_call *x)
{
    struct path slave = {.mnt = x->tf->pts_root.mnt};
    int flags = (int)x->arg.a, r;
    struct file *f;
    char name[16];

    if (!x->t || !slave.mnt)
        return -EIO;
    snprintf(name, sizeof(name), "%d", x->tty->index);
    r = dentry_lookup(x->tf->pts_root.dentry, name, strlen(name), &slave.dentry);
    if (r)
        return r;
    if (slave.dentry->inode)
        r = vfs_open_path(x->c, &slave, flags & ~O_CLOEXEC, &f);
    else
        r = -EIO;
    dentry_put(slave.dentry);
    if (r)
        return r;
    r = fd_install(x->t->files, f, 0, flags & O_CLOEXEC, task_rlimit(x->t, RLIMIT_NOFILE));
    file_put(f);
    return r;
}

enum { SLAVE = 1, MASTER = 2, BOTH = 3, CHANGES = 4 /* a background process may not */ };

static const struct {
    unsigned int cmd, flags;
    long (*fn)(struct tty_call *x);
} calls[] = {
    {TCGETS, BOTH, do_tcgets},
    {TCGETS2, BOTH, do_tcgets},
    {TIOCGWINSZ, BOTH, do_gwinsz},
    {TIOCSWINSZ, BOTH, do_swinsz},
    {FIONREAD, BOTH, do_inq},
    {TIOCGPGRP, BOTH, do_gpgrp},
    {TIOCSPGRP, BOTH, do_spgrp},
    {TCSETS, BOTH | CHANGES, do_tcsets},
    {TCSETSW, BOTH | CHANGES, do_tcsets},
    {TCSETSF, BOTH | CHANGES, do_tcsets},
    {TCSETS2, BOTH | CHANGES, do_tcsets},
    {TCSETSW2, BOTH | CHANGES, do_tcsets},
    {TCSETSF2, BOTH | CHANGES, do_tcsets},
    {TCGETA, BOTH, do_tcgeta},
    {TCSETA, BOTH | CHANGES, do_tcseta},
    {TCSETAW, BOTH | CHANGES, do_tcseta},
    {TCSETAF, BOTH | CHANGES, do_tcseta},
    {TIOCGSOFTCAR, BOTH, do_softcar},
    {TIOCSSOFTCAR, BOTH, do_softcar},
    {TIOCGETD, BOTH, do_getd},
    {TIOCSETD, BOTH | CHANGES, do_setd},
    {TIOCGLCKTRMIOS, BOTH, do_locked_termios},
    {TCFLSH, BOTH | CHANGES, do_tcflsh},
    {TCXONC, SLAVE | CHANGES, do_tcxonc},
    {TCSBRK, BOTH | CHANGES, do_nothing},
    {TCSBRKP, BOTH | CHANGES, do_nothing},
    {TIOCSBRK, BOTH | CHANGES, do_nothing},
    {TIOCCBRK, BOTH | CHANGES, do_nothing},
    {TIOCOUTQ, BOTH, do_outq},
    {TIOCSTI, SLAVE, do_sti},
    {TIOCEXCL, BOTH, do_excl},
    {TIOCNXCL, BOTH, do_excl},
    {TIOCGEXCL, BOTH, do_excl},
    {TIOCGDEV, BOTH, do_gdev},
    {TIOCVHANGUP, SLAVE, do_vhangup},
    {TIOCSCTTY, BOTH, do_sctty},
    {TIOCNOTTY, SLAVE, do_notty},
    {TIOCGSID, BOTH, do_gpgrp},
    {TIOCPKT, MASTER, do_pkt},
    {TIOCGPKT, MASTER, do_pkt},
    {TIOCSPTLCK, MASTER, do_ptlck},
    {TIOCGPTLCK, MASTER, do_ptlck},
    {TIOCGPTN, MASTER, do_gptn},
    {TIOCSIG, MASTER, do_sig},
    {TIOCGPTPEER, MASTER, do_gptpeer},
};

long tty_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct tty_file *tf = f->priv;
    struct tty_call x = {f, tf, tf->tty, c, task_of_caller(c), cmd, arg};
    bool hung_up;

    tty_lock(x.tty);
    hung_up = !tf->master && tty_file_hung_up(x.tty, tf);
    tty_unlock(x.tty);
    if (hung_up)
        return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        if (calls[i].cmd != cmd)
            continue;
        if (!(calls[i].flags & (tf->master ? MASTER : SLAVE)))
            return -ENOTTY;
        if ((calls[i].flags & CHANGES) && x.t) {
            int r = tty_jobctl_check_write(x.t, &x.tty->job);
            if (r)
                return r;
        }
        return calls[i].fn(&x);
    }
    return -ENOTTY;
}
