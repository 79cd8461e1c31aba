"""Programs as people run them: network clients and servers between the sandbox and the host. The long ones are skipped, and say so, where a program is missing."""
import shutil
import subprocess

from harness import TIME_FACTOR, eq


def test_http_server_of_python(n):
    box = n.python("""
import http.server, socketserver
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        b = b"x" * 100000; self.send_response(200); self.send_header("Content-Length", str(len(b))); self.end_headers(); self.wfile.write(b)
    def log_message(self, *a): pass
http.server.HTTPServer.server_bind = socketserver.TCPServer.server_bind # which does not ask DNS for our name
srv = http.server.ThreadingHTTPServer(("", 8000), H); say("up")
threading.Thread(target=srv.serve_forever, daemon=True).start(); hear()
""")
    box.hear()
    script = """
import http.client
c = http.client.HTTPConnection("10.77.0.2", 8000)
for i in range(20):
    c.request("GET", "/"); assert len(c.getresponse().read()) == 100000
"""
    with n.inside():
        subprocess.run(["python3", "-c", script], check=True, timeout=30 * TIME_FACTOR)
    box.end()


def iperf(n, reverse):
    if not shutil.which("iperf3"):
        return
    box = n.python("import subprocess; p = subprocess.Popen(['iperf3', '-s', '-1', '--forceflush'], stdout=subprocess.PIPE, text=True); say(p.stdout.readline()); p.communicate()")
    box.hear()
    with n.inside():
        r = subprocess.run(["iperf3", "-c", n.ip, "-t", "3"] + reverse, capture_output=True, text=True, timeout=30 * TIME_FACTOR, check=False)
    eq((r.returncode, r.stderr), (0, ""))
    box.end()


def long_iperf3_to_the_sandbox(n):
    iperf(n, [])


def long_iperf3_from_the_sandbox(n):
    iperf(n, ["-R"])
