/* Descriptor tables of new processes: 0, 1 and 2, and what else they are given. */
#include "sentry/boot/boot_internal.h"

#include "sentry/host/host_file.h"
#include "sentry/socket/net.h"
#include "vfs/fdtable.h"
#include "vfs/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int boot_fdtable_of(struct file *in, struct file *out, struct file *err, struct fdtable **ft)
{
    struct file *files[] = {in, out, err};
    int r = fdtable_create(ft);

    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(files); i++)
        r = fd_install(*ft, files[i], (int)i, false, 1024);
    return r < 0 ? r : 0;
}

void sandbox_stdio_close(const struct sandbox_stdio *io)
{
    for (int i = 0; i < 3; i++)
        if (io->fd[i] >= 0)
            close(io->fd[i]);
    for (int i = 0; i < io->nr_extra; i++)
        close(io->extra[i]);
}

/*
 * Sockets are such for the guest if the sentry's filter has the calls for them, which is known when the sandbox is made; those
 * that come to an exec of another sandbox can be read and written only, as stdin can.
 */
static int make_file(struct sandbox *sb, int fd, struct file **out)
{
    bool has_calls = sb->spec->host_sockets || sb->spec->network == SPEC_NETWORK_HOST;
    struct stat st;
    int r = -EAFNOSUPPORT;

    if (has_calls && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        r = net_host_donated(sb->k->net, fd, out);
    return r == -EAFNOSUPPORT ? host_file_create(sb->loop, fd, out) : r;
}

int boot_extra_fds(struct sandbox *sb, const struct sandbox_stdio *io, struct fdtable *ft, struct error *e)
{
    int r = 0;

    for (int i = 0; i < io->nr_extra; i++) {
        struct file *f;

        if (r < 0) {
            close(io->extra[i]);
            continue;
        }
        r = make_file(sb, io->extra[i], &f);
        if (r == 0) {
            r = fd_install(ft, f, 3 + i, false, 1024);
            file_put(f);
        }
        if (r < 0)
            error_set(e, -r, "descriptor %d", 3 + i);
    }
    return r < 0 ? r : 0;
}

int boot_stdio(struct sandbox *sb, const struct sandbox_stdio *io, struct fdtable **out)
{
    struct file *files[3] = {NULL};
    int r = 0;

    for (int i = 0; i < 3; i++) {
        if (r == 0)
            r = host_file_create(sb->loop, io->fd[i], &files[i]);
        else
            close(io->fd[i]);
    }
    if (r == 0)
        r = boot_fdtable_of(files[0], files[1], files[2], out);
    for (int i = 0; i < 3; i++)
        if (files[i])
            file_put(files[i]);
    return r;
}
