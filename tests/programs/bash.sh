# bash: pipelines, job control, here-documents, coprocesses, process substitution, traps.
. /opt/programs/files/common.sh
need bash script
cat >t.bash <<'END'
set -eu -o pipefail
expect() { [ "$2" = "$3" ] || { echo "$1: got '$2' wanted '$3'"; exit 1; }; }
expect pipeline "$(seq 1000 | awk '{s+=$1} END {print s}' | tee >(cat >/dev/null) | cat)" 500500
expect subst "$(paste <(seq 3) <(seq 4 6) | tr '\t\n' ',;')" "1,4;2,5;3,6;"
expect heredoc "$(cat <<<"one line")" "one line"
expect status "$(true | false | true; echo "${PIPESTATUS[*]}")" "0 1 0" || true
coproc C { while read -r l; do echo "<$l>"; done; }
echo hi >&"${C[1]}"; read -r got <&"${C[0]}"
expect coproc "$got" "<hi>"
exec {fd}>&"${C[1]}"; eval "exec ${C[1]}>&-"; exec {fd}>&-; wait "$C_PID" || true
declare -A m=([a]=1 [b]=2); expect assoc "${m[b]}" 2
n=0; trap 'n=$((n + 1))' USR1; for _ in 1 2 3; do kill -USR1 $BASHPID; done; expect traps $n 3
for i in $(seq 20); do (exit $((i % 3))) & p[$i]=$!; done
s=0; for i in $(seq 20); do r=0; wait "${p[$i]}" || r=$?; s=$((s + r)); done; expect jobs $s 21
read -r -t 0.1 x < <(sleep 2) || expect timeout $? 142
END
bash t.bash
# Job control needs a terminal: script(1) makes one.
cat >jc.bash <<'END'
set -m
sleep 30 &
kill -STOP %1; sleep 0.2; jobs
bg %1 >/dev/null; sleep 0.2; jobs
kill %1; wait %1 2>/dev/null; echo "status $?"
(sleep 0.2; kill -INT $$) & trap 'echo interrupted' INT; sleep 2; wait
tty >/dev/null && stty -a | grep -q 'icanon' && echo tty-ok
END
script -q -e -c "bash --norc jc.bash" /dev/null </dev/null >jc.out 2>&1 || true
for want in Stopped Running 'status 143' interrupted tty-ok; do grep -q "$want" jc.out || { echo "no '$want' in:"; cat jc.out; exit 1; }; done
