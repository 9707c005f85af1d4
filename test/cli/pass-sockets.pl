# Passes sockets to a command as systemd does (sd_listen_fds(3)), also wrong ones. LISTEN_FDS and LISTEN_PID are left as they
# are where they are set.
#
#   perl pass-sockets.pl KIND,KIND… COMMAND…      KIND: tcp, connected, udp, unix, file
use strict;
use warnings;
use Fcntl;
use POSIX ();
use Socket;

my @kinds = split /,/, shift;
my $any = sockaddr_in(0, inet_aton('127.0.0.1'));
my %open = (
  tcp => sub { socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, $any); listen($s, 16); $s },
  udp => sub { socket(my $s, PF_INET, SOCK_DGRAM, 0); bind($s, $any); $s },
  unix => sub { socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, pack('S a*', AF_UNIX, "\0spillway-$$")); listen($s, 16); $s },
  file => sub { open(my $s, '<', '/dev/null'); $s },
  connected => sub {
    socket(my $l, PF_INET, SOCK_STREAM, 0); bind($l, $any); listen($l, 16);
    socket(my $s, PF_INET, SOCK_STREAM, 0); connect($s, getsockname($l)); $s;
  },
);
# Out of the way of those numbers at first.
my @held = map { fcntl($open{$_}->(), F_DUPFD, 64) or die "$_: $!" } @kinds;
for my $i (0 .. $#held) { POSIX::dup2($held[$i], 3 + $i) or die "dup2: $!" }
$ENV{LISTEN_PID} //= $$;
$ENV{LISTEN_FDS} //= @kinds;
exec(@ARGV) or die "exec: $!";
