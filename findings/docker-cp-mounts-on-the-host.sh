#!/usr/bin/env bash
# While Docker Engine 20.10 copies files out of a container, it mounts that container's `hosts`, `hostname` and `resolv.conf` on its own
# host, below the container's root. For as long as the copy takes, the host's /proc/self/mountinfo has mounts of files of
# …/containers/ID/, which is what it looks like inside a container. Whoever tells by "is a root of a mount in such a folder?" whether a
# process runs in a container (a usual way since cgroup v2) is wrong on the host now and then.
#
# Seen with: docker.io 20.10.24+dfsg1-1+deb12u1+b6 (Debian 12), GET /containers/ID/archive read slowly.
#   Before and after: 0 such mounts outside of containers. Meanwhile: 3, mounted at …/etc/hosts, …/etc/hostname and …/etc/resolv.conf.
# Expected: a copy that leaves no trace in the mount table of everybody else.
# Look at the mount point too: in a container itself it is /etc/hostname and nothing longer.
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

mkdir image && cp tree/bin/busybox image/ && head -c 20000000 /dev/zero >image/large
tar -C image -c busybox large | ask -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
  'http://engine/images/create?fromSrc=-&repo=still&tag=1' >/dev/null
id=$(ask -H 'Content-Type: application/json' http://engine/containers/create -d '{"Image": "still:1", "HostConfig": {"NetworkMode": "none"},
  "Cmd": ["/busybox", "sleep", "1000"]}' | grep -o '[0-9a-f]\{64\}')
ask -X POST "http://engine/containers/$id/start"
sleep 2
mounts() { grep -c " $folder/root/containers/$id/" /proc/self/mountinfo || true; }
seen="before $(mounts)"
ask --limit-rate 2M -o copied.tar "http://engine/containers/$id/archive?path=/large" &
copy=$!
sleep 3
seen="$seen, meanwhile $(mounts)"
grep -o "[^ ]*/containers/$id/[^ ]* [^ ]*" /proc/self/mountinfo | sed "s|$folder|…|g; s|[0-9a-f]\{64\}|ID|g" || true
wait "$copy"
sleep 1
seen="$seen, after $(mounts)"
ask -X DELETE "http://engine/containers/$id?force=1"
echo "$seen"
[ "$seen" = 'before 0, meanwhile 3, after 0' ] || { echo "this has changed"; exit 1; }
echo "as stated"
