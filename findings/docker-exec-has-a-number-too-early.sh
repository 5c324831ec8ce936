#!/usr/bin/env bash
# Docker Engine tells the process number of an exec before that process has become the command: for some milliseconds it is still
# runc's own `runc init`, without the environment and the arguments of the command.
#
# Seen with: docker.io 20.10.24+dfsg1-1+deb12u1+b6 (Debian 12), through the API.
#   `sleep 1000` is started by exec a hundred times, with MARK=1 in its environment. Each time the exec is inspected until `Pid` is
#   not 0, and /proc/PID/environ is read at once. Some have no MARK yet, and have it a moment later. A search for the mark at that
#   moment, from outside or by a second exec, finds nothing.
# Expected: `Pid` is 0 until the process has become the command, as `Running: true, Pid: 0` before.
# The same by hand: Docker Engine 26.1.5+dfsg1 (20 of 60) and 28.5.2+dfsg4 (15 of 60), for 27 ms at most; with 0.03 processors
# (NanoCpus) for up to 200 ms.
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

id=$(ask -H 'Content-Type: application/json' http://engine/containers/create -d '{"Image": "pieces:1", "HostConfig": {"NetworkMode": "none"},
  "Cmd": ["/busybox", "sleep", "1000"]}' | grep -o '[0-9a-f]\{64\}')
ask -X POST "http://engine/containers/$id/start"
early=0
for _ in $(seq 100); do
  exec=$(ask -H 'Content-Type: application/json' "http://engine/containers/$id/exec" -d '{"Cmd": ["/busybox", "sleep", "1000"], "Env": ["MARK=1"]}' |
    grep -o '[0-9a-f]\{64\}')
  ask -H 'Content-Type: application/json' "http://engine/exec/$exec/start" -d '{"Detach": true}' &
  number=
  while [ -z "$number" ]; do number=$(ask "http://engine/exec/$exec/json" | grep -o '"Pid":[1-9][0-9]*' | tr -cd 0-9) || true; done
  tr '\0' '\n' <"/proc/$number/environ" | grep -qx MARK=1 || early=$((early + 1))
  wait $! || true
  until tr '\0' '\n' <"/proc/$number/environ" | grep -qx MARK=1; do sleep 0.01; done
  kill -9 "$number"
done
ask -X DELETE "http://engine/containers/$id?force=1"
echo "$early of 100 had a number before they were the command"
[ $early -gt 0 ] || { echo "this has changed, or this computer is very quiet"; exit 1; }
echo "as stated"
