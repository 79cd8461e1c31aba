# busybox: its shell's grammar, and applets in pipelines.
. /opt/programs/files/common.sh
need busybox
mkdir bin
busybox --install -s /tmp/bin
B=$(command -v busybox)
PATH=/tmp/bin exec "$B" sh -eu <<'END'
expect() { [ "$2" = "$3" ] || { echo "$1: got '$2' wanted '$3'"; exit 1; }; }
expect arith "$((3 * (4 + 5)))" 27
expect loop "$(for i in 1 2 3; do echo $i; done | tr '\n' ' ')" "1 2 3 "
expect pipeline "$(seq 100 | grep 7 | wc -l | tr -d ' ')" 19
f() { local x=$1; echo "f:$x"; return 3; }
r=0; out=$(f hi) || r=$?
expect function "$out $r" "f:hi 3"
x=$(cat <<EOT
a $((1 + 1))
EOT
)
expect heredoc "$x" "a 2"
(exit 5) || expect subshell $? 5
trap 'echo trapped >/tmp/trapped' USR1
kill -USR1 $$
expect trap "$(cat /tmp/trapped)" trapped
sleep 0.2 & wait $!
expect job $? 0
mkdir -p d/e/f && touch d/e/f/x && find d -type f | xargs rm && rm -r d
printf 'b\na\n' >s && expect sort "$(sort s | head -n 1)" a
expect sed "$(echo hello | sed 's/l/L/g')" heLLo
expect awk "$(echo '1 2 3' | awk '{print $1+$2+$3}')" 6
tar cf t.tar s && tar tf t.tar >/dev/null && gzip t.tar && gunzip t.tar.gz
expect md5 "$(echo x | md5sum | cut -d' ' -f1)" 401b30e3b8b5d629635a5c613cdb7919
ps >/dev/null && df >/dev/null && free >/dev/null && uptime >/dev/null && mount >/dev/null && id >/dev/null
exit 0
END
