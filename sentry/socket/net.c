#include "sentry/socket/net.h"

#include "sentry/fs/pseudofs.h"
#include "sentry/socket/inet_loopback/inet.h"
#include "sentry/socket/inet_net/inet_net.h"
#include "sentry/socket/unix/unix.h"

#include <errno.h>
#include <stdlib.h>

int net_create(struct kernel *k, struct net **out) NO_THREAD_SAFETY_ANALYSIS
{
    struct net *net = calloc(1, sizeof(*net));

    if (!net)
        return -ENOMEM;
    net->k = k;
    mutex_init(&net->unix_lock);
    mutex_init(&net->gc_lock);
    mutex_init(&net->netlink_lock);
    for (int i = 0; i < UNIX_HASH; i++)
        list_init(&net->unix_names[i]);
    list_init(&net->unix_all);
    list_init(&net->inflight);
    list_init(&net->netlink_all);
    list_init(&net->captures);
    atomic_init(&net->unix_max_dgram, 10);
    atomic_init(&net->port_min, 32768);
    atomic_init(&net->port_max, 60999);
    atomic_init(&net->unprivileged_port, 1024);
    atomic_init(&net->somaxconn, 4096);
    atomic_init(&net->rmem_max, 212992);
    atomic_init(&net->wmem_max, 212992);
    atomic_init(&net->rmem_default, 212992);
    atomic_init(&net->wmem_default, 212992);
    if (net_stack_create(net) < 0) {
        net->stack = NULL;
        net_destroy(net);
        return -ENOMEM;
    }
    net->tcp = inet_table_create();
    net->udp = inet_table_create();
    net->udplite = inet_table_create();
    if (!net->tcp || !net->udp || !net->udplite) {
        net_destroy(net);
        return -ENOMEM;
    }
    *out = net;
    return 0;
}

void net_destroy(struct net *net)
{
    if (!net)
        return;
    net_stack_destroy(net);
    inet_table_destroy(net->tcp);
    inet_table_destroy(net->udp);
    inet_table_destroy(net->udplite);
    mutex_fini(&net->unix_lock);
    mutex_fini(&net->gc_lock);
    mutex_fini(&net->netlink_lock);
    free(net);
}

/* Abstract names are shown with @ for each NUL, as Linux does. */
static void show_unix_name(struct seq *s, const struct unix_addr *a)
{
    size_t n = a->len - offsetof(struct sockaddr_un, sun_path);
    bool path = a->un.sun_path[0];

    seq_putc(s, ' ');
    for (size_t i = 0; i < n && !(path && !a->un.sun_path[i]); i++)
        seq_putc(s, a->un.sun_path[i] ? a->un.sun_path[i] : '@');
}

void net_show_unix(struct net *net, struct seq *s)
{
    struct unix_sock *u;

    seq_puts(s, "Num       RefCount Protocol Flags    Type St Inode Path\n");
    mutex_lock(&net->unix_lock);
    list_for_each_entry(u, &net->unix_all, all_node) {
        bool listening = u->state == UNIX_LISTEN;

        seq_printf(s, "%016lx: %08X %08X %08X %04X %02X %5llu", 0ul, ref_read(&u->s.ref), 0u, listening ? 0x10000u : 0u,
                   u->s.type, u->s.file ? (u->state == UNIX_ESTABLISHED ? 3 : 1) : (u->state == UNIX_ESTABLISHED ? 2 : 4),
                   (unsigned long long)u->s.ino);
        if (u->addr)
            show_unix_name(s, u->addr);
        seq_putc(s, '\n');
    }
    mutex_unlock(&net->unix_lock);
}
