/*
 * What a guest sends to netlink sockets: requests of NETLINK_ROUTE, NETLINK_SOCK_DIAG and NETLINK_NETFILTER, whole messages by
 * way of the socket's own sendmsg and recvmsg, in a network namespace that has a few sockets, addresses and routes.
 *
 * Input: messages, each [protocol: 1 byte][length: 2 bytes, little endian][that many bytes, or what is left].
 */
#include "netstack/nic.h"
#include "netstack/route.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/net.h"
#include "sentry/socket/netlink/netlink.h"
#include "sentry/socket/socket.h"
#include "vfs/cred.h"
#include "vfs/uaccess.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES 16

static void no_frame(struct nic *nic, struct pkt *p)
{
    pkt_free(p);
}

static const struct nic_ops eth_ops = {.xmit = no_frame};

static void add_interface(struct net *net) NO_THREAD_SAFETY_ANALYSIS
{
    struct nic *nic = calloc(1, sizeof(*nic));
    struct in6_addr a = addr_from_v4(htonl(0x0a000001));

    strcpy(nic->name, "eth0");
    nic->mtu = 1500;
    nic->arp_type = 1;
    nic->mac[5] = 7;
    netstack_lock(net->stack);
    if (nic_add(net->stack, nic, &eth_ops) < 0)
        abort();
    if (nic_set_up(net->stack->lo, true) < 0 || nic_set_up(nic, true) < 0)
        abort();
    (void)!nic_addr_add_plain(nic, &a, 24);
    netstack_unlock(net->stack);
}

static struct socket *open_socket(struct task *t, int family, int type, int protocol)
{
    struct socket *s;

    if (socket_create(t, family, type, protocol, &s) < 0)
        abort();
    return s;
}

static void bind_to(struct task *t, struct socket *s, int port)
{
    struct sock_addr a = {.len = sizeof(struct sockaddr_in)};

    a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    (void)s->ops->bind(s, t, &a);
}

/* Reads all answers, so that the sanitizer sees what is not there. */
static void drain(struct task *t, struct socket *s)
{
    static char buf[65536];
    uint32_t sum = 0;
    ssize_t n;

    do {
        struct iovec iov = {buf, sizeof(buf)};
        struct uio uio;
        struct sk_msg m = {.uio = &uio, .flags = MSG_DONTWAIT};

        uio_init_host(&uio, &iov, 1);
        n = s->ops->recvmsg(s, t, &m);
        for (ssize_t k = 0; k < n; k++)
            sum = sum * 31 + (unsigned char)buf[k];
    } while (n > 0);
    if (sum == 0x12345678)
        abort();
}

static void send_message(struct task *t, struct socket *s, const uint8_t *data, size_t n)
{
    char *copy = malloc(n + 1);
    struct iovec iov = {copy, n};
    struct uio uio;
    struct sk_msg m = {.uio = &uio, .flags = MSG_DONTWAIT};

    memcpy(copy, data, n);
    uio_init_host(&uio, &iov, 1);
    (void)s->ops->sendmsg(s, t, &m);
    free(copy);
    drain(t, s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int protocols[] = {NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_NETFILTER};
    static struct kernel k;
    static struct tgroup tg = {.tgid = 7};
    static struct cred *cred;
    struct task t = {.k = &k, .tg = &tg};
    struct socket *others[4], *by_protocol[3];
    struct sock_addr group = {.len = sizeof(struct sockaddr_nl)};

    if (!cred)
        cred = cred_create_root();
    t.cred = cred;
    if (net_create(&k, &k.net) < 0)
        return 0;
    add_interface(k.net);
    others[0] = open_socket(&t, AF_INET, SOCK_DGRAM, 0);
    bind_to(&t, others[0], 53);
    others[1] = open_socket(&t, AF_INET, SOCK_RAW, IPPROTO_ICMP);
    others[2] = open_socket(&t, AF_UNIX, SOCK_STREAM, 0);
    others[3] = open_socket(&t, AF_PACKET, SOCK_RAW, 0);
    for (int i = 0; i < 3; i++) {
        by_protocol[i] = open_socket(&t, AF_NETLINK, SOCK_RAW, protocols[i]);
        group.nl = (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_groups = ~0u};
        (void)by_protocol[i]->ops->bind(by_protocol[i], &t, &group);
    }
    for (int i = 0; i < MESSAGES && size >= 3; i++) {
        struct socket *s = by_protocol[data[0] % 3];
        size_t n = data[1] | data[2] << 8;

        data += 3;
        size -= 3;
        if (n > size)
            n = size;
        send_message(&t, s, data, n);
        data += n;
        size -= n;
    }
    for (int i = 0; i < 3; i++) {
        by_protocol[i]->ops->release(by_protocol[i]);
        socket_put(by_protocol[i]);
    }
    for (int i = 0; i < 4; i++) {
        others[i]->ops->release(others[i]);
        socket_put(others[i]);
    }
    net_destroy(k.net);
    return 0;
}
