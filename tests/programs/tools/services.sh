# cron, and supervisor with two programs, one of which ends again and again.
. /opt/programs/files/common.sh
need cron supervisord supervisorctl
cron
echo '* * * * * root date >>/tmp/cron.out' >/etc/cron.d/test
chmod 644 /etc/cron.d/test
cat >s.conf <<'END'
[supervisord]
pidfile=/tmp/s.pid
logfile=/tmp/s.log
[unix_http_server]
file=/tmp/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix:///tmp/s.sock
[program:stays]
command=sleep 1000
user=nobody
[program:ends]
command=sh -c "echo run >>/tmp/runs; sleep 1.2"
startsecs=1
autorestart=true
END
supervisord -c s.conf
ctl() { supervisorctl -c s.conf "$@"; }
until_true() { for _ in $(seq 600); do if eval "$1"; then return; fi; sleep 0.2; done; echo "never: $1"; exit 1; }
until_true 'ctl status stays | grep -q RUNNING'
expect user "$(ps -o user= -p "$(ctl pid stays)")" nobody
until_true '[ "$(wc -l <runs)" -ge 3 ]'
old=$(ctl pid stays)
kill -9 "$old"
until_true 'ctl status stays | grep -q RUNNING && [ "$(ctl pid stays)" != "$old" ]'
ctl restart stays >/dev/null
ctl stop all >/dev/null
until_true 'ctl status stays | grep -q STOPPED || true'
ctl shutdown >/dev/null
until_true '! [ -e s.pid ]'
if [ -n "${LONG:-}" ]; then until_true '[ -s cron.out ]'; fi
kill "$(cat /var/run/crond.pid)"
