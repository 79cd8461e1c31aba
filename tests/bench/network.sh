#!/bin/sh
# The network rows that need no interface but loopback: `runsc-c bench --suite programs --programs tests/bench/network.sh --rootfs DIR`, with
# a root from `tests/lib/debian-root servers`. Client and server are in the same container. Prints "name<TAB>operations per second<TAB>/s".
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
cd /tmp || exit 1

have() { command -v "$1" >/dev/null 2>&1; }
rate() { [ -n "$2" ] && printf '%s\t%s\t/s\n' "$1" "$2"; }
# until_open PORT: a server takes connections, or ten seconds are over
until_open() {
    for _ in $(seq 100); do
        bash -c ": </dev/tcp/127.0.0.1/$1" 2>/dev/null && return
        sleep 0.1
    done
    echo "nothing listens on port $1" >&2
}

if have redis-server; then
    redis-server --save '' --appendonly no --port 7001 >/dev/null 2>&1 &
    until_open 7001
    for p in 1 16; do
        redis-benchmark -p 7001 -P $p -n $((p * 40000)) -c 50 -t set,get --csv 2>/dev/null | tr -d '"' | while IFS=, read -r op rps _; do
            case $op in SET | GET) rate "redis-$op-P$p" "$rps" ;; esac
        done
    done
    kill $!
fi
if have nginx && have wrk; then
    mkdir -p /tmp/www
    head -c 1024 /dev/zero | tr '\0' x >/tmp/www/1k
    cat >/tmp/nginx.conf <<'N'
worker_processes 1;
daemon off;
pid /tmp/nginx.pid;
error_log /dev/null;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 10000000;
    server { listen 7002; root /tmp/www; }
}
N
    nginx -c /tmp/nginx.conf -e /dev/null >/dev/null 2>&1 &
    until_open 7002
    rps() { wrk -c16 -t1 -d3 "$@" http://127.0.0.1:7002/1k 2>/dev/null | sed -n 's/^Requests.sec: *//p'; }
    rate nginx-keep-alive "$(rps)"
    rate nginx-close "$(rps -H 'Connection: close')"
    kill $!
fi
if have iperf3; then
    iperf3 -s -1 -p 7003 >/dev/null 2>&1 &
    until_open 7003
    iperf3 -s -1 -p 7004 >/dev/null 2>&1 &
    sleep 0.3
    rate iperf3-loopback-bits "$(iperf3 -c 127.0.0.1 -p 7004 -t 3 -f k 2>/dev/null | sed -n 's/.* \([0-9]*\) Kbits.*receiver/\1000/p')"
fi
PG=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
if [ -n "$PG" ]; then
    mkdir -p /tmp/pgn && chown postgres /tmp/pgn
    if su postgres -c "$PG/initdb -A trust -D /tmp/pgn/data >/dev/null &&
        $PG/pg_ctl -D /tmp/pgn/data -o '-c listen_addresses=127.0.0.1 -p 7005 -k /tmp/pgn' -w -l /tmp/pgn/log start >/dev/null"; then
        su postgres -c "$PG/pgbench -h 127.0.0.1 -p 7005 -i -s 10 -q postgres" >/dev/null 2>&1
        for mode in select-only tpcb-like; do
            rate "pgbench-tcp-$mode" "$(su postgres -c "$PG/pgbench -h 127.0.0.1 -p 7005 -b $mode -c 4 -T 3 postgres" 2>/dev/null |
                sed -n 's/^tps = \([0-9.]*\).*/\1/p')"
        done
        su postgres -c "$PG/pg_ctl -D /tmp/pgn/data -m immediate stop" >/dev/null 2>&1
    fi
fi
exit 0
