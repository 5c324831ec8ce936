#!/usr/bin/env bash
# Docker Engine stamps what a container writes when it reads it, stream by stream: the time stamps do not give the order of stdout and stderr.
#
# Seen with: docker.io 20.10.24+dfsg1-1+deb12u1+b6 (Debian 12), log driver json-file, through the API.
#   One process writes the numbers 0 to 1,999, one write each, in turn to stdout and stderr. The logs of both streams, with timestamps=1, have
#   some numbers behind greater ones (about one in two hundred on two processors), and sorting by the time stamps, which have nanoseconds,
#   does not put them right. Within one stream the order is right.
# Expected: by time, lines of one process stand in the order in which it wrote them.
# If you need the order of both streams, let the container write one of them (`2>&1`), or give it a terminal.
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
mkdir exec root image
echo '{}' >daemon.json # not the machine's own
unshare --net dockerd --config-file daemon.json --data-root "$folder/root" --exec-root "$folder/exec" --pidfile "$folder/dockerd.pid" \
  --host "unix://$folder/docker.sock" --bridge=none --iptables=false --ip6tables=false >dockerd.log 2>&1 &
pid=$!
ask() { curl -sS --unix-socket docker.sock "$@"; }
for _ in $(seq 100); do ask http://engine/_ping >/dev/null 2>&1 && break; sleep 0.2; done
ask http://engine/version | grep -o '"Version":"20[^"]*"' | head -n 1

cp tree/bin/busybox image/
tar -C image -c busybox | ask -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
  'http://engine/images/create?fromSrc=-&repo=order&tag=1' >/dev/null

cat >count.py <<'PYTHON'
"""How many lines stand behind a greater number: as given, sorted by time, and within one stream."""
import struct
import sys

data, at, lines = sys.stdin.buffer.read(), 0, []
while at < len(data):
    stream, length = data[at], struct.unpack(">I", data[at + 4 : at + 8])[0]
    time, _, number = data[at + 8 : at + 8 + length].decode().strip().partition(" ")
    second, _, fraction = time.rstrip("Z").partition(".")
    lines.append(((second, fraction.ljust(9, "0")), int(number), stream))
    at += 8 + length
behind = lambda found: sum(one[1] > next_one[1] for one, next_one in zip(found, found[1:]))
by_time = sorted(lines, key=lambda line: line[0])
within = sum(behind([line for line in by_time if line[2] == stream]) for stream in (1, 2))
print(len(lines), behind(lines), behind(by_time), within)
PYTHON

# shellcheck disable=SC2016
writes='i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done'
total=0
for _ in 1 2 3; do
  id=$(ask -H 'Content-Type: application/json' http://engine/containers/create -d '{"Image": "order:1", "HostConfig": {"NetworkMode": "none",
    "LogConfig": {"Type": "json-file"}}, "Cmd": ["/busybox", "sh", "-c", "'"$writes"'"]}' | grep -o '[0-9a-f]\{64\}')
  ask -X POST "http://engine/containers/$id/start"
  ask -X POST "http://engine/containers/$id/wait" >/dev/null
  read -r lines given sorted within < <(ask "http://engine/containers/$id/logs?stdout=1&stderr=1&timestamps=1" | python3 count.py)
  echo "$lines lines, behind a greater number: $given as given, $sorted by time, $within within one stream"
  [ "$lines $within" = "2000 0" ] || { echo "this has changed"; exit 1; }
  total=$((total + sorted))
  ask -X DELETE "http://engine/containers/$id?force=1"
done
[ $total -gt 0 ] || { echo "this has changed"; exit 1; }
echo "as stated"
