#include "lib/hostproc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { UNSET = -2 };

static atomic_int self_fd_dir = UNSET, proc_dir = UNSET;

void hostproc_set(int self_fd, int proc)
{
    atomic_store(&self_fd_dir, self_fd);
    atomic_store(&proc_dir, proc);
}

/* The directory, opened at its usual place if nobody has given one. */
static int directory(atomic_int *dir, const char *path)
{
    int fd = atomic_load_explicit(dir, memory_order_relaxed), unset = UNSET;

    if (likely(fd != UNSET))
        return fd < 0 ? -ENOENT : fd;
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (atomic_compare_exchange_strong(dir, &unset, fd))
        return fd;
    close(fd);
    return unset;
}

int hostproc_self_fd(void)
{
    return directory(&self_fd_dir, "/proc/self/fd");
}

int hostproc_reopen(int fd, int flags)
{
    int dir = hostproc_self_fd(), r;
    char name[16];

    if (dir < 0)
        return dir;
    snprintf(name, sizeof(name), "%d", fd);
    r = openat(dir, name, flags | O_CLOEXEC | O_NOCTTY);
    return r < 0 ? -errno : r;
}

int hostproc_link(int fd, int dir_fd, const char *name)
{
    int dir = hostproc_self_fd();
    char from[16];

    if (dir < 0)
        return dir;
    snprintf(from, sizeof(from), "%d", fd);
    return linkat(dir, from, dir_fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int hostproc_thread_times(pid_t tid, uint64_t *ran, uint64_t *queued)
{
    int dir = directory(&proc_dir, "/proc"), fd;
    char path[32], buf[96], *end;
    ssize_t n;

    if (dir < 0)
        return dir;
    snprintf(path, sizeof(path), "%d/schedstat", tid);
    fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    if (n <= 0)
        return -EIO;
    buf[n] = '\0';
    *ran = strtoull(buf, &end, 10);
    *queued = strtoull(end, NULL, 10);
    return 0;
}
