#!/bin/sh
# narrow.sh COMMAND [ARGUMENT…]: runs it in a network of its own, whose TCP connections have buffers of 4 KiB to send and
# RECEIVE octets (16 KiB) to receive. Those of Linux hold some megabytes between two programs of one machine: whatever is sent is taken at
# once, and who reads slowly is never noticed. With 4 KiB to receive as well, two sides that both have much to say drop
# each other's segments, acknowledgements and all, and wait for ever longer. See network_namespaces(7), tcp(7).
set -e
command -v ip >/dev/null || {
  echo 'ip is missing: apt-get install iproute2' >&2
  exit 1
}
RECEIVE=${RECEIVE:-16384} exec unshare --net sh -ec '
  ip link set lo up
  echo 4096 4096 4096 >/proc/sys/net/ipv4/tcp_wmem
  echo 4096 $RECEIVE $RECEIVE >/proc/sys/net/ipv4/tcp_rmem
  exec "$@"
' sh "$@"
