#!/bin/sh
# Make the passwords of the Compose stack, each once: a start with the same volumes changes nothing.
# Whoever can read a volume may read the password in it: only the containers that need it mount it.
set -eu
umask 022
random() { head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
# Written under another name first: an interrupted start leaves no half of a file.
once() { # FILE TEXT
    [ -s "$1" ] || { printf '%s\n' "$2" >"$1.new" && mv "$1.new" "$1"; }
}
root=${1:-/run}
once "$root/redis-secret/password" "$(random)"
once "$root/redis-secret/redis.conf" "requirepass $(cat "$root/redis-secret/password")"
once "$root/metrics-secret/key" "$(random)"
once "$root/grafana-secret/password" "$(random)"
