/* /proc/sys/net: numbers that can be read, written back, and not set to nonsense; and that mean something. */
#include "guest_test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static int read_file(const char *name, char *buf, size_t size)
{
    char path[256];
    int fd, n;

    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    n = read(fd, buf, size - 1);
    close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n;
}

static int write_file(const char *name, const char *text)
{
    char path[256];
    int fd, r, e;

    snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
    fd = open(path, O_WRONLY);
    if (fd < 0)
        return -1;
    r = write(fd, text, strlen(text));
    e = errno;
    close(fd);
    errno = e;
    return r < 0 ? -1 : 0;
}

static int number_of(const char *name)
{
    char buf[64];

    CHECK(read_file(name, buf, sizeof(buf)) > 0);
    return atoi(buf);
}

TEST(settings_can_be_read_and_written_back)
{
    static const char *const names[] = {
        "core/somaxconn",
        "core/rmem_max",
        "core/wmem_max",
        "core/rmem_default",
        "ipv4/ip_forward",
        "ipv4/ip_default_ttl",
        "ipv4/ip_local_port_range",
        "ipv4/ip_unprivileged_port_start",
        "ipv4/ip_nonlocal_bind",
        "ipv4/icmp_echo_ignore_all",
        "ipv4/icmp_ratelimit",
        "ipv4/ping_group_range",
        "ipv4/tcp_rmem",
        "ipv4/tcp_wmem",
        "ipv4/tcp_keepalive_time",
        "ipv4/tcp_keepalive_intvl",
        "ipv4/tcp_fin_timeout",
        "ipv4/tcp_syn_retries",
        "ipv4/tcp_retries2",
        "ipv4/tcp_syncookies",
        "ipv4/tcp_sack",
        "ipv4/tcp_timestamps",
        "ipv4/tcp_window_scaling",
        "ipv4/tcp_max_syn_backlog",
        "ipv4/tcp_tw_reuse",
        "ipv4/tcp_congestion_control",
        "ipv4/tcp_slow_start_after_idle",
        "ipv4/conf/all/forwarding",
        "ipv4/conf/all/rp_filter",
        "ipv4/conf/default/rp_filter",
        "ipv4/conf/lo/forwarding",
        "ipv4/conf/lo/rp_filter",
        "ipv4/conf/lo/accept_local",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/all/disable_ipv6",
        "ipv6/conf/lo/disable_ipv6",
        "ipv6/conf/lo/accept_ra",
        "ipv6/conf/lo/hop_limit",
        "ipv6/conf/default/accept_ra",
        "ipv6/bindv6only",
        "unix/max_dgram_qlen",
    };
    char before[128], after[128];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (read_file(names[i], before, sizeof(before)) <= 0)
            guest_test_fail(__FILE__, __LINE__, "%s cannot be read: %s", names[i], strerror(errno));
        if (before[strlen(before) - 1] != '\n')
            guest_test_fail(__FILE__, __LINE__, "%s ends without a newline", names[i]);
        if (write_file(names[i], before) < 0) {
            if (errno == EROFS || errno == EACCES)
                continue;
            guest_test_fail(__FILE__, __LINE__, "%s cannot be written: %s", names[i], strerror(errno));
        }
        CHECK(read_file(names[i], after, sizeof(after)) > 0);
        CHECK_STR(after, before);
    }
}

TEST(nonsense_is_refused)
{
    if (write_file("ipv4/ip_default_ttl", "64") < 0)
        SKIP("not writable here");
    CHECK_ERR(write_file("ipv4/ip_default_ttl", "256"), EINVAL);
    CHECK_ERR(write_file("ipv4/tcp_syn_retries", "0"), EINVAL);
    CHECK_ERR(write_file("ipv4/ip_local_port_range", "5000 4000"), EINVAL);
    CHECK_ERR(write_file("ipv4/tcp_congestion_control", "no-such"), ENOENT);
    CHECK_ERR(read_file("ipv4/conf/none9/forwarding", (char[8]){0}, 8), ENOENT);
}

TEST(sockets_start_with_what_is_set)
{
    static const struct {
        const char *name;
        int option;
    } of_tcp[] = {{"ipv4/tcp_keepalive_time", TCP_KEEPIDLE},
                  {"ipv4/tcp_keepalive_intvl", TCP_KEEPINTVL},
                  {"ipv4/tcp_keepalive_probes", TCP_KEEPCNT},
                  {"ipv4/tcp_syn_retries", TCP_SYNCNT},
                  {"ipv4/tcp_fin_timeout", TCP_LINGER2}};
    int fd = socket(AF_INET, SOCK_STREAM, 0), v;
    socklen_t len = sizeof(v);

    for (size_t i = 0; i < sizeof(of_tcp) / sizeof(of_tcp[0]); i++) {
        CHECK_OK(getsockopt(fd, SOL_TCP, of_tcp[i].option, &v, &len));
        CHECK_EQ(v, number_of(of_tcp[i].name));
    }
    close(fd);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_OK(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, &len));
    CHECK_EQ(v, number_of("core/rmem_default"));
    close(fd);
}

TEST(tables_of_proc_net_have_their_headings)
{
    static const char *const tables[][2] = {
        {"tcp", "  sl  local_address rem_address   st"},
        {"udp", "   sl  local_address rem_address   st"},
        {"raw", "  sl  local_address rem_address   st"},
        {"unix", "Num       RefCount Protocol Flags"},
        {"packet", "sk               RefCnt Type Proto  Iface R Rmem   User   Inode"},
        {"netlink", "sk               Eth Pid        Groups"},
        {"dev", "Inter-|   Receive"},
        {"route", "Iface\tDestination\tGateway"},
        {"arp", "IP address       HW type"},
        {"snmp", "Ip: Forwarding DefaultTTL"},
        {"netstat", "TcpExt: "},
        {"sockstat", "sockets: used"},
        {"protocols", "protocol  size sockets  memory press maxhdr"},
    };
    char path[64], line[512];
    FILE *f;

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        snprintf(path, sizeof(path), "/proc/net/%s", tables[i][0]);
        f = fopen(path, "r");
        CHECK(f);
        CHECK(fgets(line, sizeof(line), f));
        if (strncmp(line, tables[i][1], strlen(tables[i][1])) != 0)
            guest_test_fail(__FILE__, __LINE__, "%s begins with %s", path, line);
        fclose(f);
    }
}

TEST_MAIN()
