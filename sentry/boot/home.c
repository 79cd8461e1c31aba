/* $HOME for a process whose environment has none, as runc gives it: the container's /etc/passwd knows. */
#include "sentry/boot/boot_internal.h"

#include "vfs/file.h"
#include "vfs/namei.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PASSWD_MAX = 1 << 20 };

/* At most PASSWD_MAX bytes of the file, terminated; NULL if there is none. */
static char *read_passwd(struct sandbox *sb)
{
    const struct open_how how = {.flags = O_RDONLY};
    char *text = malloc(PASSWD_MAX + 1);
    struct file *f = NULL;
    size_t got = 0;
    loff_t pos = 0;

    if (!text || vfs_open(&sb->caller, NULL, "/etc/passwd", &how, &f) < 0) {
        free(text);
        return NULL;
    }
    while (got < PASSWD_MAX) {
        struct iovec iov = {text + got, PASSWD_MAX - got};
        struct uio uio;
        ssize_t n;

        uio_init_host(&uio, &iov, 1);
        n = vfs_read(f, &sb->caller, &uio, &pos);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    file_put(f);
    text[got] = '\0';
    return text;
}

char *boot_home(struct sandbox *sb, uid_t uid)
{
    char *text = read_passwd(sb), *save = NULL, *home = NULL;
    int r;

    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line && !home; line = strtok_r(NULL, "\n", &save)) {
        /* name:password:uid:gid:comment:home:shell */
        char *field[7] = {line};
        int n = 1;
        for (; n < 7 && (field[n] = strchr(field[n - 1], ':')); n++)
            *field[n]++ = '\0';
        if (n >= 6 && field[2][0] && strtoul(field[2], NULL, 10) == uid)
            home = field[5];
    }
    r = asprintf(&home, "HOME=%s", home && home[0] == '/' ? home : "/");
    free(text);
    return r < 0 ? NULL : home;
}
