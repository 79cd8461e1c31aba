# ruby: threads, processes, sockets, signals.
. /opt/programs/files/common.sh
need ruby
cat >t.rb <<'END'
require "socket"
require "timeout"
server = TCPServer.new("127.0.0.1", 0)
echo = Thread.new { 10.times { s = server.accept; s.write(s.gets); s.close } }
answers = 10.times.map { |i| s = TCPSocket.new("127.0.0.1", server.addr[1]); s.puts(i); s.gets.to_i }
raise answers.inspect unless answers == (0..9).to_a
echo.join
r, w = IO.pipe
pid = fork { r.close; w.write("x" * 200_000); exit!(3) }
w.close
raise "pipe" unless r.read.size == 200_000
Process.wait(pid)
raise "status" unless $?.exitstatus == 3
got = []
trap("USR1") { got << 1 }
Process.kill("USR1", Process.pid)
sleep 0.05 until got.any?
begin
  Timeout.timeout(0.1) { sleep 10 }
  raise "no time-out"
rescue Timeout::Error
end
raise "system" unless `echo #{[1, 2, 3].sum}` == "6\n"
GC.start
puts "ok"
END
expect ruby "$(ruby t.rb)" ok
