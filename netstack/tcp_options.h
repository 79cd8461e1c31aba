/*
 * The TCP header on the wire and its options (RFC 9293, 7323, 2018). Parsing never reads beyond the given bytes and ignores
 * what is malformed or unknown, as Linux does; writing pads to whole words.
 */
#ifndef NETSTACK_TCP_OPTIONS_H
#define NETSTACK_TCP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TCP_HEADER_LEN  20
#define TCP_OPTIONS_MAX 40
#define TCP_MAX_WSCALE  14
#define TCP_MSS_DEFAULT 536
#define TCP_MSS_MIN     48 /* what a peer's MSS counts for at least: smaller ones are attacks (CVE-2019-11479) */

enum tcp_flag {
    TCP_FIN = 0x01,
    TCP_SYN = 0x02,
    TCP_RST = 0x04,
    TCP_PSH = 0x08,
    TCP_ACK = 0x10,
    TCP_URG = 0x20,
    TCP_ECE = 0x40,
    TCP_CWR = 0x80
};

/* Network byte order throughout; any alignment. */
struct tcp_header {
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint8_t off; /* header length in words, in the high four bits */
    uint8_t flags;
    uint16_t window, check, urg;
} __attribute__((packed));

struct tcp_sack_block {
    uint32_t start, end;
};

#define TCP_SACK_BLOCKS 4

struct tcp_options {
    uint32_t tsval, tsecr;
    uint16_t mss; /* 0: not given */
    uint8_t wscale;
    bool has_ts, has_wscale, sack_ok;
    uint8_t nr_sacks;
    struct tcp_sack_block sacks[TCP_SACK_BLOCKS];
};

/* Host byte order from the `len` bytes behind the fixed header. MSS, window scale and SACK-permitted count only with `syn`. */
void tcp_options_parse(const uint8_t *p, size_t len, bool syn, struct tcp_options *o);
/* Writes what `o` has set (`syn` as above) into `p`, which has room for 40 bytes. Returns the length, a multiple of 4. */
size_t tcp_options_write(uint8_t *p, bool syn, const struct tcp_options *o);
/* What tcp_options_write() would return. */
size_t tcp_options_len(bool syn, const struct tcp_options *o);

#endif
