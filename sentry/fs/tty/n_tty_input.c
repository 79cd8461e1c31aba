/*
 * The input side of the line discipline: from bytes of the far end to lines (canonical mode) or bytes (raw mode) for readers.
 *
 * The buffer is a ring. [tail, canon_head) is what a canonical reader may have: whole lines, each ended by a byte whose bit in
 * `ends` is set. [canon_head, head) is the line being edited. In raw mode a reader may have [tail, head). An EOF character is
 * stored as a NUL with its bit set and is not given to the reader. A canonical line that fills the buffer goes on taking
 * characters into its last place, so that its newline gets in; in every other case what does not fit stays in the backlog,
 * and, when that is full, with the writer.
 *
 * Rules: POSIX.1-2017 chapter 11, termios(3), and the kernel's habits where both are silent (what is echoed for what).
 */
#include "sentry/fs/tty/tty_internal.h"

#include <ctype.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#define DISABLED 0 /* _POSIX_VDISABLE; also how an EOF mark is stored */

static uint32_t at(uint32_t pos)
{
    return pos % N_TTY_BUF;
}

static void end_set(struct n_tty *in, uint32_t pos)
{
    in->ends[at(pos) / 64] |= 1ULL << (pos % 64);
}

static void end_clear(struct n_tty *in, uint32_t pos)
{
    in->ends[at(pos) / 64] &= ~(1ULL << (pos % 64));
}

static bool end_test(const struct n_tty *in, uint32_t pos)
{
    return in->ends[at(pos) / 64] >> (pos % 64) & 1;
}

static void put_queue(struct n_tty *in, unsigned char c)
{
    in->buf[at(in->head++)] = c;
}

static void wake_readers(struct tty *tty)
{
    waitq_wake(&tty->wq, POLLIN | POLLRDNORM);
}

void n_tty_init(struct tty *tty)
{
    memset(&tty->in, 0, sizeof(tty->in));
}

static void finish_erasing(struct tty *tty) REQUIRES(tty->lock)
{
    if (tty->in.erasing) {
        n_tty_echo_raw(tty, '/');
        tty->in.erasing = false;
    }
}

/* Echoes an input character that goes into the line. */
static void echo_input(struct tty *tty, unsigned char c) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;

    finish_erasing(tty);
    if (in->canon_head == in->head)
        in->canon_column = in->column;
    n_tty_echo(tty, c);
}

static bool is_cc(const struct tty *tty, unsigned char c, int which) REQUIRES(tty->lock)
{
    return CC(tty, which) != DISABLED && c == CC(tty, which);
}

/* Shows that `c`, of `cnt` bytes ending at head + cnt, was erased. */
static void echo_erased(struct tty *tty, unsigned char c, uint32_t cnt, bool one) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;

    if (L(tty, ECHOPRT)) {
        if (!in->erasing) {
            n_tty_echo_raw(tty, '\\');
            in->erasing = true;
        }
        n_tty_echo(tty, c);
        for (uint32_t pos = in->head + 1; --cnt > 0; pos++) {
            n_tty_echo_raw(tty, in->buf[at(pos)]);
            if (in->column > 0)
                in->column--;
        }
    } else if (one && !L(tty, ECHOE)) {
        n_tty_echo(tty, CC(tty, VERASE));
    } else if (c == '\t') {
        uint32_t columns = 0, pos = in->head;
        bool after_tab = false;

        while (pos != in->canon_head && !after_tab) {
            unsigned char p = in->buf[at(--pos)];
            if (p == '\t')
                after_tab = true;
            else if (p < 0x20 || p == 0x7f)
                columns += L(tty, ECHOCTL) ? 2 : 0;
            else if (!n_tty_is_continuation(tty, p))
                columns++;
        }
        n_tty_echo_erase_tab(tty, columns, after_tab);
    } else {
        bool control = c < 0x20 || c == 0x7f;
        int columns = control ? (L(tty, ECHOCTL) ? 2 : 0) : 1;

        for (; columns > 0; columns--) {
            n_tty_echo_raw(tty, '\b');
            n_tty_echo_raw(tty, ' ');
            n_tty_echo_raw(tty, '\b');
        }
    }
}

/* ERASE, WERASE and KILL. */
static void erase(struct tty *tty, unsigned char which) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;
    bool one = is_cc(tty, which, VERASE), word = !one && L(tty, IEXTEN) && is_cc(tty, which, VWERASE);
    bool seen_word = false;

    if (in->head == in->canon_head)
        return;
    if (!one && !word) {
        if (!L(tty, ECHO)) {
            in->head = in->canon_head;
            return;
        }
        if (!L(tty, ECHOK) || !L(tty, ECHOKE) || !L(tty, ECHOE)) {
            in->head = in->canon_head;
            finish_erasing(tty);
            n_tty_echo(tty, CC(tty, VKILL));
            if (L(tty, ECHOK))
                n_tty_echo_raw(tty, '\n');
            return;
        }
    }
    while (in->head != in->canon_head) {
        uint32_t start = in->head, cnt;
        unsigned char c;

        do
            c = in->buf[at(--start)];
        while (n_tty_is_continuation(tty, c) && start != in->canon_head);
        if (n_tty_is_continuation(tty, c))
            break; /* no partial characters */
        if (word) {
            if (isalnum(c) || c == '_')
                seen_word = true;
            else if (seen_word)
                break;
        }
        cnt = in->head - start;
        in->head = start;
        if (L(tty, ECHO))
            echo_erased(tty, c, cnt, one);
        if (one)
            break;
    }
    if (in->head == in->canon_head && L(tty, ECHO))
        finish_erasing(tty);
}

/* A line is complete; `c` is its last byte, DISABLED for EOF. */
static void end_line(struct tty *tty, unsigned char c) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;

    end_set(in, in->head);
    put_queue(in, c);
    in->canon_head = in->head;
    wake_readers(tty);
}

/* Characters that mean something in canonical mode only; true if `c` was one. */
static bool receive_canon(struct tty *tty, unsigned char c) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;
    bool ext = L(tty, IEXTEN), echo = L(tty, ECHO);

    if (is_cc(tty, c, VERASE) || is_cc(tty, c, VKILL) || (ext && is_cc(tty, c, VWERASE))) {
        erase(tty, c);
        return true;
    }
    if (ext && is_cc(tty, c, VLNEXT)) {
        in->lnext = true;
        if (echo) {
            finish_erasing(tty);
            if (L(tty, ECHOCTL)) {
                n_tty_echo_raw(tty, '^');
                n_tty_echo_raw(tty, '\b');
            }
        }
        return true;
    }
    if (ext && echo && is_cc(tty, c, VREPRINT)) {
        finish_erasing(tty);
        n_tty_echo(tty, c);
        n_tty_echo_raw(tty, '\n');
        for (uint32_t pos = in->canon_head; pos != in->head; pos++)
            n_tty_echo(tty, in->buf[at(pos)]);
        return true;
    }
    if (c == '\n') {
        if (echo || L(tty, ECHONL))
            n_tty_echo_raw(tty, '\n');
        end_line(tty, c);
        return true;
    }
    if (is_cc(tty, c, VEOF)) {
        end_line(tty, DISABLED);
        return true;
    }
    if (is_cc(tty, c, VEOL) || (ext && is_cc(tty, c, VEOL2))) {
        if (echo)
            echo_input(tty, c);
        if (c == 0xff && I(tty, PARMRK))
            put_queue(in, c);
        end_line(tty, c);
        return true;
    }
    return false;
}

static void receive_signal(struct tty *tty, int signo, unsigned char c) REQUIRES(tty->lock)
{
    tty->signals |= 1U << signo;
    if (!L(tty, NOFLSH)) {
        n_tty_flush_input(tty);
        tty_flush_output(tty);
    }
    if (I(tty, IXON))
        tty_start(tty);
    if (L(tty, ECHO))
        n_tty_echo(tty, c);
    else
        n_tty_flush_echoes(tty);
}

static bool receive_flow_control(struct tty *tty, unsigned char c) REQUIRES(tty->lock)
{
    if (is_cc(tty, c, VSTART)) {
        tty_start(tty);
        return true;
    }
    if (is_cc(tty, c, VSTOP)) {
        tty_stop(tty);
        return true;
    }
    return false;
}

/* The end of every way: into the line. */
static void receive_data(struct tty *tty, unsigned char c) REQUIRES(tty->lock)
{
    if (c == 0xff && I(tty, PARMRK))
        put_queue(&tty->in, c);
    put_queue(&tty->in, c);
}

static void receive_char(struct tty *tty, unsigned char c) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;

    if (I(tty, ISTRIP))
        c &= 0x7f;
    if (I(tty, IUCLC) && L(tty, IEXTEN))
        c = tolower(c);
    if (L(tty, EXTPROC)) {
        put_queue(in, c);
        return;
    }
    if (in->lnext) {
        in->lnext = false;
        if (L(tty, ECHO))
            echo_input(tty, c);
        receive_data(tty, c);
        return;
    }
    if (I(tty, IXON) && receive_flow_control(tty, c))
        return;
    if (L(tty, ISIG)) {
        int signo = is_cc(tty, c, VINTR) ? SIGINT : is_cc(tty, c, VQUIT) ? SIGQUIT : is_cc(tty, c, VSUSP) ? SIGTSTP : 0;
        if (signo) {
            receive_signal(tty, signo, c);
            return;
        }
    }
    if (I(tty, IXON) && I(tty, IXANY))
        tty_start(tty);
    if (c == '\r') {
        if (I(tty, IGNCR))
            return;
        if (I(tty, ICRNL))
            c = '\n';
    } else if (c == '\n' && I(tty, INLCR)) {
        c = '\r';
    }
    if (L(tty, ICANON) && receive_canon(tty, c))
        return;
    if (L(tty, ECHO)) {
        if (c == '\n') {
            finish_erasing(tty);
            n_tty_echo_raw(tty, c);
        } else {
            echo_input(tty, c);
        }
    }
    receive_data(tty, c);
}

/* Nothing of the input is looked at, so that it can be taken by blocks. */
static bool is_transparent(const struct tty *tty) REQUIRES(tty->lock)
{
    return !L(tty, ICANON | ISIG | ECHO | EXTPROC) && !I(tty, IGNCR | ICRNL | INLCR | IXON | PARMRK | ISTRIP | IUCLC);
}

/* One pass over `buf` as far as there is room. */
static size_t receive_some(struct tty *tty, const unsigned char *buf, size_t n) REQUIRES(tty->lock)
{
    struct n_tty *in = &tty->in;
    bool transparent = is_transparent(tty);
    size_t done = 0;

    while (done < n) {
        uint32_t used = in->head - in->tail, room = N_TTY_BUF - used, need = I(tty, PARMRK) ? 2 : 1;

        if (I(tty, PARMRK))
            room = (room + 2) / 3;
        room = room ? room - 1 : 0;
        if (transparent && room) {
            if (room > N_TTY_BUF - at(in->head))
                room = N_TTY_BUF - at(in->head);
            if (room > n - done)
                room = n - done;
            memcpy(in->buf + at(in->head), buf + done, room);
            in->head += room;
            done += room;
            continue;
        }
        if (room == 0) {
            if (!L(tty, ICANON) || in->canon_head != in->tail)
                break;
            if (used + need > N_TTY_BUF)
                in->head = in->tail + N_TTY_BUF - need; /* the line is too long: its last character gives way */
        }
        receive_char(tty, buf[done++]);
    }
    if (done && (!L(tty, ICANON) || L(tty, EXTPROC)) && n_tty_input_available(tty, true))
        wake_readers(tty);
    return done;
}

size_t tty_receive(struct tty *tty, const unsigned char *buf, size_t n)
{
    size_t done;

    tty_receive_backlog(tty);
    done = ring_used(&tty->backlog) ? 0 : receive_some(tty, buf, n);
    if (done < n)
        done += ring_put(&tty->backlog, buf + done, n - done);
    return done;
}

void tty_receive_backlog(struct tty *tty)
{
    struct tty_ring *b = &tty->backlog;
    bool moved = false;

    while (ring_used(b)) {
        uint32_t pos = b->tail % b->cap, n = b->cap - pos;
        size_t took;

        if (n > ring_used(b))
            n = ring_used(b);
        took = receive_some(tty, b->buf + pos, n);
        /* A signal character may have flushed the backlog under our feet. */
        b->tail += took < ring_used(b) ? took : ring_used(b);
        moved |= took > 0;
        if (took < n)
            break;
    }
    if (moved)
        waitq_wake(&tty->master_wq, POLLOUT | POLLWRNORM);
}

void n_tty_flush_input(struct tty *tty)
{
    struct n_tty *in = &tty->in;

    in->head = in->tail = in->canon_head = 0;
    in->push = in->lnext = in->erasing = false;
    memset(in->ends, 0, sizeof(in->ends));
    tty_packet_event(tty, 0, TIOCPKT_FLUSHREAD);
    waitq_wake(&tty->master_wq, POLLOUT | POLLWRNORM);
}

void n_tty_termios_changed(struct tty *tty, const struct termios2 *old)
{
    struct n_tty *in = &tty->in;

    if ((old->c_lflag ^ tty->termios.c_lflag) & (ICANON | EXTPROC)) {
        memset(in->ends, 0, sizeof(in->ends));
        if (!L(tty, ICANON) || in->head == in->tail) {
            in->canon_head = in->tail;
            in->push = false;
        } else {
            end_set(in, in->head - 1);
            in->canon_head = in->head;
            in->push = true;
        }
        in->erasing = in->lnext = false;
    }
    if (!I(tty, IXON) && (old->c_iflag & IXON))
        tty_start(tty);
    tty_receive_backlog(tty);
    waitq_wake(&tty->wq, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
}

bool n_tty_input_available(const struct tty *tty, bool for_poll)
{
    const struct n_tty *in = &tty->in;
    uint32_t want = for_poll && !CC(tty, VTIME) && CC(tty, VMIN) ? CC(tty, VMIN) : 1;

    if (L(tty, ICANON) && !L(tty, EXTPROC))
        return in->canon_head != in->tail;
    return in->head - in->tail >= want;
}

size_t n_tty_readable(const struct tty *tty)
{
    const struct n_tty *in = &tty->in;
    size_t n;

    if (!L(tty, ICANON) || L(tty, EXTPROC))
        return in->head - in->tail;
    n = in->canon_head - in->tail;
    for (uint32_t pos = in->tail; pos != in->canon_head; pos++)
        n -= end_test(in, pos) && in->buf[at(pos)] == DISABLED;
    return n;
}

size_t n_tty_take(struct tty *tty, unsigned char *buf, size_t n, bool *line_done)
{
    struct n_tty *in = &tty->in;
    bool canon = L(tty, ICANON) && !L(tty, EXTPROC);
    uint32_t end = canon ? in->canon_head : in->head;
    size_t done = 0;

    *line_done = false;
    while (in->tail != end && !*line_done) {
        unsigned char c = in->buf[at(in->tail)];
        bool is_end = canon && end_test(in, in->tail);

        if (is_end && c == DISABLED && !in->push) {
            *line_done = true; /* an EOF mark: needs no room */
        } else {
            if (done == n)
                break;
            buf[done++] = c;
            *line_done = is_end;
        }
        if (is_end) {
            end_clear(in, in->tail);
            in->push = false;
        }
        in->tail++;
    }
    return done;
}

void n_tty_skip_eof(struct tty *tty)
{
    struct n_tty *in = &tty->in;

    if (!L(tty, ICANON) || L(tty, EXTPROC) || in->tail == in->canon_head)
        return;
    if (end_test(in, in->tail) && in->buf[at(in->tail)] == DISABLED) {
        end_clear(in, in->tail);
        in->tail++;
    }
}
