#!/usr/bin/env bash
# Docker Engine cuts a line of output into pieces of 16 KiB and stores each piece as a separate entry; `tail` counts these entries.
#
# Seen with: docker.io 20.10.24+dfsg1-1+deb12u1+b6 (Debian 12), log drivers json-file and local, through the API.
#   A container writes one line of 40,000 letters and the line "last". The API document says of `tail`: "Only return this number
#   of log lines from the end of the logs". What is returned:
#     tail=1  "last" alone: right
#     tail=2  the last 7,232 letters of the long line, with no mark that 32,768 are missing, and "last"
#     tail=4  both complete lines
#   With timestamps=1 each piece gets its own time stamp, in the middle of the line.
# Expected: tail=2 returns both complete lines.
# The same by hand: Docker Engine 28.5.2+dfsg4 (Debian sid).
set -euo pipefail
version=20.10.24+dfsg1-1+deb12u1+b6
folder=$(mktemp -d)
pid=
cleanup() {
  if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then timeout 30 tail --pid="$pid" -f /dev/null || true; fi
  umount "$folder/root" 2>/dev/null || true; rm -rf "$folder"
}
trap cleanup EXIT

cd "$folder"
apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null
apt-get -qq download "docker.io=$version" containerd runc tini busybox-static >/dev/null 2>&1
for package in ./*.deb; do dpkg -x "$package" tree; done
export PATH=$folder/tree/usr/sbin:$folder/tree/usr/bin:$PATH
mkdir exec root
echo '{}' >daemon.json # not the machine's own
unshare --net dockerd --config-file daemon.json --data-root "$folder/root" --exec-root "$folder/exec" --pidfile "$folder/dockerd.pid" \
  --host "unix://$folder/docker.sock" --bridge=none --iptables=false --ip6tables=false >dockerd.log 2>&1 &
pid=$!
ask() { curl -sS --unix-socket docker.sock "$@"; }
for _ in $(seq 100); do ask http://engine/_ping >/dev/null 2>&1 && break; sleep 0.2; done
ask http://engine/version | grep -o '"Version":"20[^"]*"' | head -n 1

mkdir image && cp tree/bin/busybox image/
tar -C image -c busybox | ask -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
  'http://engine/images/create?fromSrc=-&repo=pieces&tag=1' >/dev/null

failed=0
for driver in json-file local; do
  id=$(ask -H 'Content-Type: application/json' http://engine/containers/create -d '{"Image": "pieces:1", "HostConfig": {"NetworkMode": "none",
    "LogConfig": {"Type": "'$driver'"}}, "Cmd": ["/busybox", "sh", "-c", "/busybox head -c 40000 /dev/zero | /busybox tr \"\\0\" x; echo; echo last"]}' |
    grep -o '[0-9a-f]\{64\}')
  ask -X POST "http://engine/containers/$id/start"
  ask -X POST "http://engine/containers/$id/wait" >/dev/null
  letters() { ask "http://engine/containers/$id/logs?stdout=1&tail=$1" | tr -cd x | wc -c; }
  seen="tail=1: $(letters 1) letters, tail=2: $(letters 2), tail=4: $(letters 4)"
  echo "$driver: of the long line's 40000 letters, $seen"
  [ "$seen" = "tail=1: 0 letters, tail=2: 7232, tail=4: 40000" ] || failed=1
  ask -X DELETE "http://engine/containers/$id?force=1"
done
[ $failed = 0 ] || { echo "this has changed"; exit 1; }
echo "as stated"
