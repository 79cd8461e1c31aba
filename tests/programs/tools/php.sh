# php: its server, with children, files and sessions.
. /opt/programs/files/common.sh
need php
cat >index.php <<'END'
<?php
session_save_path("/tmp"); session_start();
$_SESSION["n"] = ($_SESSION["n"] ?? 0) + 1;
file_put_contents("/tmp/log", $_SERVER["REQUEST_URI"] . "\n", FILE_APPEND | LOCK_EX);
echo "n=", $_SESSION["n"], " ", trim(shell_exec("echo child")), " ", array_sum(range(1, 100000)), "\n";
END
PHP_CLI_SERVER_WORKERS=4 php -S 127.0.0.1:8000 >server.log 2>&1 &
p=$!
for _ in $(seq 300); do grep -q started server.log && break; sleep 0.1; done
cat >client.php <<'END'
<?php
$cookie = "";
for ($i = 1; $i <= 20; $i++) {
    $context = stream_context_create(["http" => ["header" => "Cookie: $cookie"]]);
    $text = file_get_contents("http://127.0.0.1:8000/$i", false, $context);
    foreach ($http_response_header as $h) if (preg_match("/^Set-Cookie: ([^;]+)/", $h, $m)) $cookie = $m[1];
    if ($text !== "n=$i child 5000050000\n") { echo "got $text"; exit(1); }
}
echo "ok\n";
END
expect php "$(php client.php)" ok
expect log "$(wc -l <log)" 20
kill "$p"
