#!/usr/bin/env bash
# Docker Engine 26.1 answers POST /containers/{id}/stop before its own list shows the end: for some milliseconds the container that was
# just stopped is listed as running.
#
# Seen with: docker.io 26.1.5+dfsg1 (Debian 13), through the API. A container is created, started and stopped, and the list is read at once
#   (GET /containers/json?all=1, filtered by its id): 24 and 25 of 25 were still "running", for 2 to 24 ms. An inspect in between waits, and
#   after it the list is right.
# Expected: what a call has answered is what the next call shows, as with docker.io 20.10.24 (0 of 10) and 28.5.2 (0 of 25), by hand.
# Whoever compares lists takes such a container for one that somebody has started again.
set -euo pipefail
version=26.1.5+dfsg1
folder=$(mktemp -d)
pid=
cleanup() {
  if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then timeout 60 tail --pid="$pid" -f /dev/null || true; fi
  rm -rf "$folder"
}
trap cleanup EXIT

cd "$folder"
debootstrap --variant=minbase --include=docker.io,busybox-static trixie tree >debootstrap.log
# With a root of its own, in namespaces of its own for mounts and network; the cgroups are those of the computer.
cat >start <<'START'
set -e
mount --bind tree tree
mount -t tmpfs tmpfs tree/run
mkdir tree/run/engine
mount --bind . tree/mnt
mount --rbind /proc tree/proc
mount --rbind /sys tree/sys
mount --rbind /dev tree/dev
cd tree
mkdir -p old
pivot_root . old
umount -l old
exec dockerd --config-file /mnt/daemon.json --data-root /mnt/root --exec-root /run/engine --pidfile /run/dockerd.pid \
  --host unix:///mnt/docker.sock --bridge=none --iptables=false --ip6tables=false
START
echo '{}' >daemon.json
mkdir root
unshare --mount --propagation private --net sh start >dockerd.log 2>&1 &
pid=$!
ask() { curl -sS --unix-socket docker.sock "$@"; }
for _ in $(seq 150); do ask http://engine/_ping >/dev/null 2>&1 && break; sleep 0.2; done
found=$(ask http://engine/version | grep -o '"Version":"[^"]*"' | head -n 1)
echo "$found"
mkdir image && cp tree/bin/busybox image/
tar -C image -c busybox | ask -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
  'http://engine/images/create?fromSrc=-&repo=stopped&tag=1' >/dev/null
running=0
for _ in $(seq 25); do
  id=$(ask -H 'Content-Type: application/json' http://engine/containers/create -d '{"Image": "stopped:1", "Cmd": ["/busybox", "sleep", "1000"],
    "HostConfig": {"NetworkMode": "none", "Init": true}}' | grep -o '[0-9a-f]\{64\}')
  ask -X POST "http://engine/containers/$id/start"
  # Both on one connection, so that nothing but the engine lies between them.
  state=$(ask -X POST "http://engine/containers/$id/stop?t=5" --next -sS --unix-socket docker.sock --get http://engine/containers/json \
    --data all=1 --data-urlencode "filters={\"id\":[\"$id\"]}" | grep -o '"State":"[a-z]*"')
  [ "$state" != '"State":"running"' ] || running=$((running + 1))
  ask -X DELETE "http://engine/containers/$id?force=1"
done
echo "$running of 25 were listed as running after they had been stopped"
[[ $found == *"$version"* ]] || { echo "another version"; exit 1; }
[ $running -gt 0 ] || { echo "this has changed"; exit 1; }
echo "as stated"
