#!/usr/bin/env bash
# Docker Engine refuses to pause a container that is paused, and to unpause one that runs. The first is a conflict (409), the second an
# error of the server (500), although both say the same of the container. Whoever repeats a call of which the reply was lost cannot tell
# by the status of an unpause that all is well, nor whether the engine is out of order.
#
# Seen with: docker.io 20.10.24+dfsg1-1+deb12u1+b6 (Debian 12), through the API.
#   POST …/pause: 204, again: 409 "Container … is already paused". POST …/unpause: 204, again: 500 "Container … is not paused".
# Expected: 409 for both. The description of the API names 404 and 500 for either call, and no 409.
# If you repeat an unpause, look at the container's State.Paused after a 500.
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
  'http://engine/images/create?fromSrc=-&repo=still&tag=1' >/dev/null
id=$(ask -H 'Content-Type: application/json' http://engine/containers/create -d '{"Image": "still:1", "HostConfig": {"NetworkMode": "none"},
  "Cmd": ["/busybox", "sleep", "1000"]}' | grep -o '[0-9a-f]\{64\}')
ask -X POST "http://engine/containers/$id/start"
sleep 2
seen=
for call in pause pause unpause unpause; do
  seen="$seen$call $(ask -o said -w '%{http_code}' -X POST "http://engine/containers/$id/$call") "
  [ ! -s said ] || cat said
  sleep 1
done
ask -X DELETE "http://engine/containers/$id?force=1"
echo "$seen"
[ "$seen" = 'pause 204 pause 409 unpause 204 unpause 500 ' ] || { echo "this has changed"; exit 1; }
echo "as stated"
