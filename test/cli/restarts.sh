#!/bin/sh
# Restarts under load, twenty times each way: nobody may be refused or reset. Run it as root: taking over is tried in a
# network of its own, where the kernel is told to move waiting connections (net.ipv4.tcp_migrate_req).
set -eu
cd "$(dirname "$0")/../.."
times=${1:-20}
for workers in 1 2; do
  echo "sockets of a service manager, $times restarts, $workers process(es):"
  node test/cli/restarts.ts sockets "$times" "$workers"
  echo "one takes over from the other, $times times, $workers process(es):"
  unshare --net sh -ec 'ip link set lo up; echo 1 >/proc/sys/net/ipv4/tcp_migrate_req; exec "$@"' sh \
    node test/cli/restarts.ts takeover "$times" "$workers"
done
