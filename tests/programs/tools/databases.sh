# mariadb and memcached.
. /opt/programs/files/common.sh
need mariadbd mariadb-install-db memcached
echo '127.0.0.1 localhost test' >>/etc/hosts
mkdir db && chown mysql db
mariadb-install-db --user=mysql --datadir=/tmp/db >install.log 2>&1 || { tail -20 install.log; exit 1; }
mariadbd --no-defaults --user=mysql --datadir=/tmp/db --socket=/tmp/my.sock --skip-networking=0 --bind-address=127.0.0.1 --port=3307 >my.log 2>&1 &
p=$!
sql() { mariadb --no-defaults -u root -S /tmp/my.sock -N -B "$@"; }
for _ in $(seq 600); do sql -e 'select 1' >/dev/null 2>&1 && break; sleep 0.2; done
sql -e "create database t; create table t.a(id int primary key auto_increment, v varchar(50)) engine=innodb; create user u@localhost identified by 'p'; grant all on t.* to u@localhost"
N=$(size 200 2000)
for w in 1 2 3; do
    (for i in $(seq "$N"); do echo "insert into t.a(v) values('$w-$i');"; done | mariadb --no-defaults -u u -pp -h 127.0.0.1 -P 3307 t) &
    j="${j:-} $!"
done
for x in $j; do wait "$x"; done
expect rows "$(sql -e 'select count(*), count(distinct v) from t.a')" "$((3 * N))	$((3 * N))"
expect check "$(sql -e 'check table t.a' | cut -f4)" OK
mariadb-admin --no-defaults -u root -S /tmp/my.sock shutdown && wait "$p"
memcached -u nobody -l 127.0.0.1 -p 11212 -t 4 &
m=$!
cat >m.py <<'END'
import socket, threading, time
def talk(k):
    for _ in range(200):
        try:
            s = socket.create_connection(("127.0.0.1", 11212)); break
        except ConnectionRefusedError:
            time.sleep(0.1)
    f = s.makefile("rwb")
    for i in range(200):
        v = b"v%d-%d" % (k, i)
        f.write(b"set k%d 0 0 %d\r\n%s\r\n" % (k, len(v), v)); f.flush(); assert f.readline() == b"STORED\r\n"
        f.write(b"get k%d\r\n" % k); f.flush(); f.readline(); assert f.readline().strip() == v; assert f.readline() == b"END\r\n"
ts = [threading.Thread(target=talk, args=(k,)) for k in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]; print("ok")
END
expect memcached "$(python3 m.py)" ok
kill "$m" && wait "$m"
