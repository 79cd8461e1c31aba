# perl: forks, pipes, sockets, sorting, regular expressions.
. /opt/programs/files/common.sh
need perl
cat >t.pl <<'END'
use strict; use warnings; use IO::Handle; use Socket; use POSIX ":sys_wait_h";
pipe(my $r, my $w) or die; my $pid = fork() // die;
if (!$pid) { close $r; print $w "child $_\n" for 1 .. 1000; close $w; POSIX::_exit(3); }
close $w; my @l = <$r>; waitpid($pid, 0); die "status $?" if $? >> 8 != 3; die scalar @l if @l != 1000;
socketpair(my $x, my $y, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; $x->autoflush(1); print $x "x\n"; die unless <$y> eq "x\n";
my %h = map { $_ => 1 } 1 .. 50000; my @s = sort { $a <=> $b } keys %h; die unless $s[-1] == 50000;
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select(undef, undef, undef, 5); }; die unless $@ eq "alarm\n";
open(my $f, "+>", "/tmp/p") or die; print $f "y" x 100000; seek($f, 0, 0); my $t = <$f>; die unless length $t == 100000;
die unless `echo back` eq "back\n"; die unless (stat "/tmp/p")[7] == 100000; print "ok\n";
END
expect perl "$(perl t.pl)" ok
