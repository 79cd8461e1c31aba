# gdb and strace: breakpoints, backtraces, watchpoints, threads, a core's signal, and attaching.
. /opt/programs/files/common.sh
need gdb strace gcc
cat >p.c <<'END'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int total;
static void *work(void *n) { for (int i = 0; i < 3; i++) total += *(int *)n; return NULL; }
static int inner(int x) { return x * 2; }
int main(int argc, char **argv)
{
    pthread_t t;
    int n = 7;
    pthread_create(&t, NULL, work, &n);
    pthread_join(t, NULL);
    if (argc > 1)
        abort();
    printf("%d %d\n", total, inner(total));
    if (getenv("STAY"))
        sleep(1000);
    return 3;
}
END
gcc -g -O0 -pthread -o p p.c
g() { gdb -q -batch -nx "$@" 2>&1; }
out=$(g -ex 'break inner' -ex run -ex bt -ex 'print x' -ex finish -ex cont ./p)
echo "$out" | grep -q 'Breakpoint 1, inner (x=21)' && echo "$out" | grep -q '#1 .* in main' && echo "$out" | grep -q 'Value returned is .* = 42' || { echo "$out"; exit 1; }
echo "$out" | grep -q 'exited with code 03' || { echo "$out"; exit 1; }
out=$(g -ex 'break work' -ex run -ex 'info threads' -ex 'set can-use-hw-watchpoints 0' -ex 'watch total' -ex cont -ex cont -ex 'print total' -ex kill ./p)
echo "$out" | grep -q '^\* 2 .*work' || { echo "$out"; exit 1; }
echo "$out" | grep -q '= 14' || { echo "$out"; exit 1; }
out=$(g -ex run -ex bt --args ./p x)
echo "$out" | grep -q SIGABRT && echo "$out" | grep -q 'in main' || { echo "$out"; exit 1; }
STAY=1 ./p >p.out &
p=$!
for _ in $(seq 100); do [ "$(wc -l <"/proc/$p/maps")" -gt 10 ] && grep -q '^State:.S' "/proc/$p/status" && break; sleep 0.05; done
out=$(g -p "$p" -ex bt -ex 'print total' -ex detach)
echo "$out" | grep -q 'in main' && echo "$out" | grep -q '= 21' || { echo "$out"; exit 1; }
kill -0 "$p"
timeout 60 strace -f -o s.out -e trace=execve,exit_group,clone,clone3 sh -c '/bin/true; /bin/echo hi' >/dev/null
expect traced "$(grep -c execve s.out)" 3
timeout 60 strace -c -o c.out ls / >/dev/null && grep -q openat c.out
strace -p "$p" -o a.out & s=$!
for _ in $(seq 100); do grep -Eq 'sleep|restart_syscall' a.out && break; sleep 0.1; done
grep -Eq 'sleep|restart_syscall' a.out
kill "$s" && wait "$s" || true
kill "$p"
