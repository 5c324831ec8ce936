#!/usr/bin/env bash
# Podman gives all lines of a container's log that it read at once the same time, so that a time does not name a line. Docker
# Engine gives each line a time of its own, in nanoseconds, in all API versions.
#
# Seen with: podman 4.3.1+ds1-8+deb12u1+b3 (Debian 12), through its Docker API v1.40: of 500 lines that a container writes at once,
# GET /containers/{id}/logs?timestamps=1 gives most a time that others have too. 4.3.1 and 5.4.2 (trixie) tell whole seconds only, 5.8.6
# (sid) nanoseconds, and there the lines of one read still have one time (the same by hand). Docker Engine 20.10.24: 500 different times.
# Whoever continues a log after the last time that it saw loses lines or gets some twice.
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
image=$(tar -C image -c busybox | ask -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
  'http://engine/v1.40/images/create?fromSrc=-' |
  grep -o 'sha256:[0-9a-f]\{64\}' | head -n 1 | cut -d: -f2)
ask -o /dev/null -H 'Content-Type: application/json' 'http://engine/v1.40/containers/create?name=one' -d '{"Image": "'"$image"'",
  "Cmd": ["/busybox", "sh", "-c", "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo line $i; done"], "HostConfig": {"NetworkMode": "none"}}'
ask -X POST http://engine/v1.40/containers/one/start
ask -o /dev/null -X POST http://engine/v1.40/containers/one/wait
ask 'http://engine/v1.40/containers/one/logs?stdout=1&timestamps=1' | grep -ao '[0-9-]*T[0-9:.]*Z line' >lines
lines=$(wc -l <lines) times=$(sort -u lines | wc -l)
echo "$(podman --version): $lines lines, $times times, such as $(head -n 1 lines | cut -d' ' -f1)"
[ "$lines" -eq 500 ] && [ "$times" -lt 50 ] || { echo "this has changed"; exit 1; }
echo "as stated"
