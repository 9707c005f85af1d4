# The end of systemd for sd_notify(3): a datagram socket of the file system. It writes each datagram as one line, with " | "
# between the lines that it has.
#
#   perl notify-socket.pl PATH
use strict;
use warnings;
use Socket;

my ($path) = @ARGV;
socket(my $socket, PF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
bind($socket, sockaddr_un($path)) or die "bind: $!";
$| = 1;
print "bound\n";
while (defined recv($socket, my $datagram, 65536, 0)) {
  chomp $datagram;
  # systemd-notify sends it to wait until all that came before has been read.
  next if $datagram eq 'BARRIER=1';
  print join(' | ', split /\n/, $datagram), "\n";
}
