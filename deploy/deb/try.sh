#!/bin/sh
# Installs the Debian package on a clean Debian, runs it there, and takes it off again: `npm run deb && npm run deb:try`. By root; it needs
# a Debian mirror, and leaves nothing. It fails at the first thing that is not as it should be.
set -eu
cd "$(dirname "$0")/../.."
suite=${1:-bookworm}
mirror=${2:-http://deb.debian.org/debian}
deb=$(ls dist/spillway_*_"$(dpkg --print-architecture)".deb)
work=$(mktemp -d /tmp/spillway-debian-XXXXXX)
trap 'kill "$node" "$sink" 2>/dev/null || true; rm -rf "$work"' EXIT
node= sink=

# Taken from the mirror, not installed: what this machine has stays as it is.
echo "fetching debootstrap"; (cd "$work" && apt-get -q -o APT::Sandbox::User=root download debootstrap >/dev/null && dpkg-deb -x debootstrap_*.deb tools)
root=$work/root
DEBOOTSTRAP_DIR=$work/tools/usr/share/debootstrap "$work/tools/usr/sbin/debootstrap" --variant=minbase "$suite" "$root" "$mirror" >"$work/log" ||
  { tail -5 "$work/log"; exit 1; }
in_root() { chroot "$root" "$@"; }
same() { [ "$2" = "$3" ] || { echo "$1: expected $2, found $3"; exit 1; }; }

cp "$deb" "$root/tmp/spillway.deb"
in_root dpkg -i /tmp/spillway.deb
same 'mode and owner of the settings' '600 root:root' "$(stat -c '%a %U:%G' "$root/etc/spillway/spillway.env")"
same 'mode and owner of the token' '600 root:root' "$(stat -c '%a %U:%G' "$root/etc/spillway/admin-token")"
same 'octets of the token' 48 "$(wc -c <"$root/etc/spillway/admin-token")"
token=$(cat "$root/etc/spillway/admin-token")

# The settings as they come say what is missing.
code=0
in_root spillway check --env-file /etc/spillway/spillway.env >"$work/check" 2>&1 || code=$?
same 'exit code of check without settings' 78 "$code"
grep -q SPILLWAY_UPSTREAMS "$work/check"

# A mail server, and a message through the program as it was installed.
cat >"$work/sink.mjs" <<'END'
import { createServer } from 'node:net'
createServer((socket) => {
  let inData = false
  socket.write('220 sink ESMTP\r\n')
  socket.on('error', () => {})
  socket.on('data', (chunk) => {
    for (const line of chunk.toString('latin1').split('\r\n').slice(0, -1)) {
      if (inData && line !== '.') continue
      inData = /^DATA$/i.test(line)
      socket.write(inData ? '354 go on\r\n' : line === '.' ? '250 2.0.0 Ok: queued as TRIED\r\n' : /^EHLO/i.test(line) ? '250 sink\r\n' : '250 Ok\r\n')
    }
  })
}).listen(12526, '127.0.0.1')
END
cp "$work/sink.mjs" "$root/tmp/sink.mjs"
in_root /usr/lib/spillway/node /tmp/sink.mjs &
sink=$!
cat >>"$root/etc/spillway/spillway.env" <<'END'
SPILLWAY_UPSTREAMS=127.0.0.1:12526
SPILLWAY_UPSTREAM_CLIENT_IP=none
SPILLWAY_RELAY_GUARD=off
SPILLWAY_LISTEN=127.0.0.1:12525
SPILLWAY_ADMIN_LISTEN=127.0.0.1:19025
SPILLWAY_ADMIN_TOKEN_FILE=/etc/spillway/admin-token
END
in_root spillway check --env-file /etc/spillway/spillway.env >/dev/null
in_root spillway serve --env-file /etc/spillway/spillway.env >"$work/serve" 2>&1 &
node=$!
cat >"$root/tmp/send.mjs" <<'END'
import { connect } from 'node:net'
const say = ['EHLO try.example\r\n', 'MAIL FROM:<a@example.org>\r\n', 'RCPT TO:<b@example.net>\r\n', 'DATA\r\n', 'Subject: tried\r\n\r\n.\r\n', 'QUIT\r\n']
const until = Date.now() + 20_000
const visit = () => {
  let heard = ''
  const socket = connect(12525, '127.0.0.1')
  socket.on('error', () => {})
  socket.on('data', (chunk) => {
    heard += chunk
    if (/^\d{3} [^\n]*\n$/m.test(String(chunk)) && say.length > 0) socket.write(say.shift())
  })
  socket.on('close', () => {
    if (heard.includes('TRIED')) process.exit(0)
    if (heard !== '' || Date.now() > until) {
      console.error(heard || 'nobody answers')
      process.exit(1)
    }
    setTimeout(visit, 200)
  })
}
visit()
END
in_root /usr/lib/spillway/node /tmp/send.mjs || { cat "$work/serve"; exit 1; }
in_root spillway bans --env-file /etc/spillway/spillway.env --json >/dev/null
kill -TERM "$(pgrep -P "$node" || echo "$node")"
wait "$node" || true
node=

# Installed again, as at an upgrade: the settings and the token stay.
in_root dpkg -i /tmp/spillway.deb >/dev/null
same 'the token after an upgrade' "$token" "$(cat "$root/etc/spillway/admin-token")"
grep -q 12526 "$root/etc/spillway/spillway.env"
in_root dpkg -r spillway >/dev/null
same 'the settings after removal' yes "$([ -e "$root/etc/spillway/spillway.env" ] && echo yes)"
in_root dpkg -P spillway >/dev/null
same 'the settings after a purge' no "$([ -e "$root/etc/spillway" ] && echo yes || echo no)"
same 'what is left of the program' no "$([ -e "$root/usr/lib/spillway" ] && echo yes || echo no)"
echo "on $suite: installed, a message relayed, upgraded, removed"
