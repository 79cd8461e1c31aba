/*
 * Docker's DNS server of user-defined networks: dockerd listens on 127.0.0.11 in the container's namespace, on ports to which
 * rules of iptables there send port 53. The sentry cannot make sockets, so it gets some that belong to that namespace; and
 * since its interfaces have no addresses any more but for that server's own use (dns_out.c), they lead nowhere else.
 */
#include "cmd/runsc-c/network/internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Does anybody listen on 127.0.0.11 here? */
static bool server_is_there(void)
{
    FILE *f = fopen("/proc/net/udp", "re");
    char line[256];
    bool found = false;

    while (f && !found && fgets(line, sizeof(line), f))
        found = strstr(line, ": 0B00007F:") != NULL;
    if (f)
        fclose(f);
    return found;
}

static void read_range(struct net_config *c)
{
    FILE *f = fopen(PORT_RANGE, "re");

    if (!f || fscanf(f, "%d %d", &c->port_min, &c->port_max) != 2) {
        c->port_min = 32768;
        c->port_max = 60999;
    }
    if (f)
        fclose(f);
}

void network_open_dns(struct net_config *c)
{
    if (!server_is_there())
        return;
    read_range(c);
    c->dns_udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    for (int i = 0; i < NET_CONFIG_DNS_TCP; i++)
        c->dns_tcp[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}
