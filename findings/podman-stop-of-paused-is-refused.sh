#!/usr/bin/env bash
# Podman's Docker API refuses POST /containers/{id}/stop for a paused container; Docker Engine ends the container.
#
# Seen with: podman 4.3.1+ds1-8+deb12u1+b3 (Debian 12), through its Docker API v1.40. The reply is 500 with "… is running or paused,
# refusing to clean up: container state improper", for any value of `t`, and the container stays paused. The same by hand with Podman 5.8.6
# (Debian sid). Docker Engine 20.10.24 and 28.5.2 answer 204: they send the signal and unpause the container, and it ends.
# If you stop containers through the Docker API, unpause them first.
set -euo pipefail
version=4.3.1+ds1-8+deb12u1+b3
folder=$(mktemp -d)
pid=
cleanup() {
  ask -X DELETE "http://engine/v1.40/containers/paused?force=true" >/dev/null 2>&1 || true
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
ask -H 'Content-Type: application/json' 'http://engine/v1.40/containers/create?name=paused' \
  -d '{"Image": "'"$image"'", "Cmd": ["/busybox", "sleep", "600"], "HostConfig": {"NetworkMode": "none"}}'
for call in start pause; do ask -o /dev/null -w "$call: %{http_code}\n" -X POST "http://engine/v1.40/containers/paused/$call"; done
status=$(ask -o reply -w '%{http_code}' -X POST 'http://engine/v1.40/containers/paused/stop?t=1')
state=$(ask http://engine/v1.40/containers/paused/json | grep -o '"Status":"[a-z]*"' | head -n 1)
echo "$(podman --version): stop: $status, then $state"
cat reply
[ "$status $state" = '500 "Status":"paused"' ] || { echo "this has changed"; exit 1; }
echo "as stated"
