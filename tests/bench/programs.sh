#!/bin/sh
# The program rows of `runsc-c bench --suite programs`: run inside a container with a Debian root, /tmp on tmpfs and a writable root.
# $1 is the workloads program. Prints "name<TAB>nanoseconds", and "name<TAB>operations per second<TAB>/s" where more is better.
W=$1
R=$(mktemp -d /root/bench.XXXXXX) || exit 1
trap 'cd / && rm -rf "$R"' EXIT
export HOME="$R" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
cd /tmp

have() { command -v "$1" >/dev/null 2>&1; }
row() { name=$1 && shift && "$W" time "$name" "$@" 2>/tmp/err || tail -n 3 /tmp/err >&2; }

have python3 && row python3-start python3 -c pass
have bash && row bash-100-true bash -c 'for i in $(seq 100); do /bin/true; done'
if have gcc && have make; then
    mkdir "$R/c" && cd "$R/c"
    for i in $(seq 40); do
        printf '#include <stdio.h>\n#include <stdlib.h>\nint f%d(int x) { printf("%%d", x); return abs(x) + %d; }\n' "$i" "$i" >"f$i.c"
    done
    printf 'O=$(patsubst %%.c,%%.o,$(wildcard *.c))\nall: $(O)\n' >Makefile
    row make-40-files make -j2
    cd /tmp
fi
row find-usr find /usr
if have git && [ -d /usr/lib/python3.11 ]; then
    git config --global user.email bench@example.com
    git config --global user.name bench
    row git-import sh -c 'cp -r /usr/lib/python3.11 "$HOME/g" && cd "$HOME/g" && git init -q && git add . && git commit -qm x'
    cd "$R/g" && row git-status git status && cd /tmp
fi
if have sqlite3; then
    { echo 'create table t(a,b);' && for i in $(seq 1000); do echo "insert into t values($i,'row $i');"; done; } >/tmp/ins.sql
    row sqlite-1000-inserts sh -c 'sqlite3 /tmp/s.db </tmp/ins.sql'
fi
row tmpfs-write-512m dd if=/dev/zero of=/tmp/big bs=64k count=8192
row tmpfs-read-512m dd if=/tmp/big of=/dev/null bs=64k
rm -f /tmp/big
PG=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
if [ -n "$PG" ] && have su; then
    mkdir -p /tmp/pg && chown postgres /tmp/pg
    row initdb su postgres -c "$PG/initdb -D /tmp/pg/data"
    su postgres -c "$PG/pg_ctl -D /tmp/pg/data -o \"-c listen_addresses= -k /tmp/pg\" -w -l /tmp/pg/log start" >/dev/null 2>&1 || exit 0
    su postgres -c "$PG/pgbench -h /tmp/pg -i -s 10 -q postgres" >/dev/null 2>&1
    for mode in select-only tpcb-like; do
        tps=$(su postgres -c "$PG/pgbench -h /tmp/pg -b $mode -c 4 -T 5 postgres" 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p')
        [ -n "$tps" ] && printf 'pgbench-unix-%s\t%s\t/s\n' "$mode" "$tps"
    done
    su postgres -c "$PG/pg_ctl -D /tmp/pg/data -m immediate stop" >/dev/null 2>&1
fi
exit 0
