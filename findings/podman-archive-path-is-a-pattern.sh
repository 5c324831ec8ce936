#!/usr/bin/env bash
# Podman's Docker API takes the path of an archive as a pattern. A file whose name has brackets cannot be read: another file is sent
# in its place without a word, or there is none of that name. Docker takes the path as it is.
#
# Seen with: podman 4.3.1+ds1-8+deb12u1+b3 (Debian 12): of a container with the files /[ab] and /a, GET …/archive?path=/[ab] sends the
# file a, with 200. Where there is no /a, the answer is 404, though /[ab] exists.
# Reference: "path: Resource in the container's filesystem to archive" (ContainerArchive).
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
mkdir -p image/only
cp tree/bin/busybox image/
printf 'the letter' >image/a
printf 'the brackets' >'image/[ab]'
printf 'the brackets' >'image/only/[ab]'
image=$(tar -C image -c . | ask -X POST -H 'Content-Type: application/x-tar' --data-binary @- \
  'http://engine/v1.40/images/create?fromSrc=-' |
  grep -o 'sha256:[0-9a-f]\{64\}' | head -n 1 | cut -d: -f2)
ask -o /dev/null -H 'Content-Type: application/json' 'http://engine/v1.40/containers/create?name=one' \
  -d '{"Image": "'"$image"'", "Cmd": ["/busybox", "sleep", "600"], "HostConfig": {"NetworkMode": "none"}}'
ask -o /dev/null -X POST http://engine/v1.40/containers/one/start
seen=
for path in '/[ab]' '/only/[ab]'; do
  status=$(ask -o archive.tar -w '%{http_code}' -G --data-urlencode "path=$path" http://engine/v1.40/containers/one/archive)
  seen="$seen$path: $status $([ "$status" = 200 ] && tar -xOf archive.tar || true); "
done
echo "$(podman --version): $seen"
[ "$seen" = '/[ab]: 200 the letter; /only/[ab]: 404 ; ' ] || { echo "this has changed"; exit 1; }
echo "as stated"
