# A service manager for one socket, as systemd is with socket activation (sd_listen_fds(3)): it opens the socket, never
# accepts, and starts a command with it whenever it reads a line.
#
#   perl hold-socket.pl COMMAND …
#
# It writes "port N", "started PID", and "ended PID CODE"; what the command writes comes through.
use strict;
use warnings;
use Fcntl;
use POSIX ();
use Socket;

my $FD = 3;
socket(my $socket, PF_INET, SOCK_STREAM, getprotobyname('tcp')) or die "socket: $!";
bind($socket, sockaddr_in(0, inet_aton('127.0.0.1'))) or die "bind: $!";
listen($socket, 4096) or die "listen: $!";
my ($port) = sockaddr_in(getsockname($socket));
if (fileno($socket) != $FD) { POSIX::dup2(fileno($socket), $FD) or die "dup2: $!" }
$| = 1;
print "port $port\n";
while (<STDIN>) {
  my $pid = fork();
  if ($pid == 0) {
    open(my $held, '<&=', $FD) or die "fd: $!";
    fcntl($held, F_SETFD, 0) or die "fcntl: $!";
    @ENV{qw(LISTEN_PID LISTEN_FDS LISTEN_FDNAMES)} = ($$, 1, 'smtp');
    exec(@ARGV) or die "exec: $!";
  }
  print "started $pid\n";
  waitpid($pid, 0);
  print 'ended ' . $pid . ' ' . ($? >> 8) . "\n";
}
