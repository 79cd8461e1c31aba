# sqlite3: WAL with two writers and a reader at once.
. /opt/programs/files/common.sh
need sqlite3
N=$(size 100 1000)
sqlite3 db 'pragma journal_mode=wal; create table t(w,i);' >/dev/null
writer() { for i in $(seq "$N"); do echo "insert into t values($1,$i);"; done | sqlite3 -cmd '.timeout 20000' db; }
writer 1 & a=$!
writer 2 & b=$!
for _ in 1 2 3 4 5; do sqlite3 -cmd '.timeout 20000' db 'select count(*) from t' >/dev/null; done
wait $a && wait $b
expect rows "$(sqlite3 db 'select count(*), sum(i) from t')" "$((2 * N))|$((N * (N + 1)))"
expect check "$(sqlite3 db 'pragma integrity_check')" ok
