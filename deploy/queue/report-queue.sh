#!/bin/sh
# Tells Spillway every ten seconds how full the queue of this mail server is. Run it on the mail server, as root:
#
#     report-queue.sh postfix|exim UPSTREAM TARGET URL...
#
#     UPSTREAM  this mail server as SPILLWAY_UPSTREAMS has it, e.g. mail1.example.net:25
#     TARGET    how many messages its queue may hold; with so many the pressure is 1
#     URL       of the admin port of each Spillway node, e.g. http://192.0.2.10:9025
#
# SPILLWAY_ADMIN_TOKEN_FILE names a file with the token of the nodes, which they need. EVERY is the number of seconds
# between two reports; a report counts for 60. It needs curl. If the queue cannot be counted, nothing is reported.
set -u
LC_ALL=C
export LC_ALL

fail() {
    echo "report-queue: $1" >&2
    exit 64
}

# Postfix: the files in the folders of its queue. postqueue would read each of them.
count_postfix() {
    queue=$(postconf -h queue_directory) || return 1
    ls "$queue/active" >/dev/null || return 1
    # What is delivered while it is counted is no error.
    find "$queue/incoming" "$queue/active" "$queue/deferred" -type f 2>/dev/null | wc -l
}

count_exim() {
    exim -bpc
}

# The token goes through standard input: arguments are in every list of processes.
fields() {
    echo 'header = "Content-Type: application/json"'
    if [ -n "${SPILLWAY_ADMIN_TOKEN_FILE:-}" ]; then
        printf 'header = "Authorization: Bearer %s"\n' "$(cat "$SPILLWAY_ADMIN_TOKEN_FILE")"
    fi
}

# $1: the URL of a node. $2: the body.
tell() {
    answer=$(fields | curl --silent --show-error --max-time 5 --config - --data "$2" --write-out '\n%{http_code}' \
        "$1/api/v1/pressure") || return
    case $answer in
        *200) ;;
        *) echo "report-queue: $1 answers: $answer" >&2 ;;
    esac
}

[ $# -ge 4 ] || fail 'usage: report-queue.sh postfix|exim UPSTREAM TARGET URL...'
server=$1 upstream=$2 target=$3
shift 3
case $server in
    postfix | exim) ;;
    *) fail "$server is neither postfix nor exim" ;;
esac
case $upstream in
    *[\"\\]*) fail "$upstream is no mail server of SPILLWAY_UPSTREAMS" ;;
esac
case $target in
    '' | 0* | *[!0-9]*) fail "$target is not how many messages a queue may hold" ;;
esac

while :; do
    length=$("count_$server" | tr -d ' \n')
    case $length in
        '' | *[!0-9]*) echo "report-queue: the queue of $server cannot be counted; nothing is reported" >&2 ;;
        *)
            value=$(awk -v queued="$length" -v target="$target" 'BEGIN { printf "%.3f", queued / target }')
            for url; do
                tell "$url" "{\"upstream\": \"$upstream\", \"value\": $value}"
            done
            ;;
    esac
    sleep "${EVERY:-10}"
done
