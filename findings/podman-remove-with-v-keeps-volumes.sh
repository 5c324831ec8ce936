#!/usr/bin/env bash
# Podman's own API removes a container with `v=true`, as its reference says, and leaves the container's anonymous volume. The word that
# works is `volumes=true`, which the reference does not name.
#
# Seen with: podman 4.3.1+ds1-8+deb12u1+b3 (Debian 12): DELETE /libpod/containers/{name}?force=true&v=true answers 200, and the volume
# that was made with the container is still listed. The same call with `volumes=true` removes it. The same by hand with Podman 5.8.6
# (Debian sid) and 5.4.2 (trixie). Podman's Docker API takes `v`, as Docker does.
# Reference: "in: query, name: v, type: boolean, description: delete volumes" (ContainerDeleteLibpod).
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
volumes() { ask http://engine/v1.40/volumes | { grep -o '"Name":"[0-9a-f]\{64\}"' || true; } | wc -l; }
left=
for word in v volumes; do
  before=$(volumes)
  ask -o /dev/null -H 'Content-Type: application/json' 'http://engine/v1.40/containers/create?name=one' \
    -d '{"Image": "'"$image"'", "Cmd": ["/busybox", "sleep", "600"], "Volumes": {"/data": {}}, "HostConfig": {"NetworkMode": "none"}}'
  made=$(($(volumes) - before))
  status=$(ask -o /dev/null -w '%{http_code}' -X DELETE "http://engine/v4.0.0/libpod/containers/one?force=true&timeout=0&$word=true")
  left="$left$word: $made made, $status, $(($(volumes) - before)) left; "
done
echo "$(podman --version): $left"
[ "$left" = 'v: 1 made, 200, 1 left; volumes: 1 made, 200, 0 left; ' ] || { echo "this has changed"; exit 1; }
echo "as stated"
