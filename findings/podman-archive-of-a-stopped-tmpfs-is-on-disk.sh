#!/usr/bin/env bash
# What is copied into a tmpfs of a Podman container goes into that memory as long as the container runs. Of one that has stopped it goes
# to the disk below, and the next start copies it from there into the memory, so it is seen as if it had been in memory all the time. The
# option notmpcopyup leaves it below. Docker never reaches a tmpfs, and shows what it wrote below to nobody.
#
# Seen with: podman 4.3.1+ds1-8+deb12u1+b3 (Debian 12): PUT …/archive?path=/memory is answered with 200 both times. What came while it ran
# is gone after a stop and a start, and what came while it had stopped is there. The same by hand with Podman 5.4.2 (trixie) and 5.8.6
# (Debian sid).
# Reference: "notmpcopyup: Disable copying files from the image to the tmpfs" (podman-run(1), --mount).
set -euo pipefail
version=4.3.1+ds1-8+deb12u1+b3
folder=$(mktemp -d)
pid=
cleanup() {
  ask -X DELETE "http://engine/v1.40/containers/one?force=true" >/dev/null 2>&1 || true
  if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then timeout 30 tail --pid="$pid" -f /dev/null || true; fi
  umount "$folder/root/overlay" 2>/dev/null || true
  rm -rf "$folder"
}
ask() { curl -sS --unix-socket "$folder/podman.sock" "$@"; }
trap cleanup EXIT

cd "$folder"
apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null
apt-get -qq download "podman=$version" conmon crun golang-github-containers-common golang-github-containers-image libyajl2 libsubid4 libgpgme11 \
  libassuan0 busybox-static >/dev/null 2>&1
for package in ./*.deb; do dpkg -x "$package" tree; done
export PATH=$folder/tree/usr/bin:$PATH LD_LIBRARY_PATH=$folder/tree/usr/lib/x86_64-linux-gnu
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$LD_LIBRARY_PATH" "$folder/tree/usr/bin/crun" >crun && chmod +x crun
cat >containers.conf <<CONF
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
conmon_path = ["$folder/tree/usr/bin/conmon"]
[engine.runtimes]
crun = ["$folder/crun"]
CONF
mkdir -p home/.config/containers
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >home/.config/containers/policy.json
export CONTAINERS_CONF=$folder/containers.conf HOME=$folder/home
# crun refuses cgroups of both versions at once, so what it does not need is hidden from it.
# shellcheck disable=SC2016
unshare --mount sh -c 'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' - podman --root "$folder/root" --runroot "$folder/run" \
  --storage-driver vfs system service --time=0 "unix://$folder/podman.sock" >podman.log 2>&1 &
pid=$!
for _ in $(seq 100); do ask http://engine/_ping >/dev/null 2>&1 && break; sleep 0.2; done
mkdir image && cp tree/bin/busybox image/
image=$(tar -C image -c . | ask -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
  'http://engine/v1.40/images/create?fromSrc=-' |
  grep -o 'sha256:[0-9a-f]\{64\}' | head -n 1 | cut -d: -f2)
mkdir sent
seen=
for option in rw rw,notmpcopyup; do
  ask -o /dev/null -H 'Content-Type: application/json' 'http://engine/v1.40/containers/create?name=one' \
    -d '{"Image": "'"$image"'", "Cmd": ["/busybox", "sleep", "600"],
      "HostConfig": {"NetworkMode": "none", "Tmpfs": {"/memory": "'"$option"'"}}}'
  for state in running stopped; do
    ask -o /dev/null -X POST "http://engine/v1.40/containers/one/start"
    [ "$state" = running ] || ask -o /dev/null -X POST "http://engine/v1.40/containers/one/stop?t=0"
    touch "sent/$state"
    tar -C sent -c "$state" | ask -o /dev/null -X PUT -H 'Content-Type: application/x-tar' --data-binary @- 'http://engine/v1.40/containers/one/archive?path=/memory'
    now=$(ask -o /dev/null -w '%{http_code}' -I "http://engine/v1.40/containers/one/archive?path=/memory/$state")
    ask -o /dev/null -X POST "http://engine/v1.40/containers/one/stop?t=0"
    ask -o /dev/null -X POST "http://engine/v1.40/containers/one/start"
    seen="$seen$option, $state: $now, then $(ask -o /dev/null -w '%{http_code}' -I "http://engine/v1.40/containers/one/archive?path=/memory/$state"); "
  done
  ask -o /dev/null -X DELETE "http://engine/v1.40/containers/one?force=true"
done
echo "$(podman --version): $seen"
[ "$seen" = 'rw, running: 200, then 404; rw, stopped: 200, then 200; rw,notmpcopyup, running: 200, then 404; rw,notmpcopyup, stopped: 200, then 404; ' ] ||
  { echo "this has changed"; exit 1; }
echo "as stated"
