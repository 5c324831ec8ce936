#!/usr/bin/env bash
# Docker Engine: `dockerd --bridge=none` deletes the network device docker0, even if it is the default bridge of another daemon.
#
# Seen with: docker.io 20.10.24+dfsg1-1+deb12u1+b6 (Debian 12), in its own network namespace with a bridge docker0 that this daemon did
# not make. After the daemon has started, the bridge is gone. So a second daemon that should leave the network alone (bridge none, no
# iptables, its own data and sockets) removes the default network of the first daemon. The first daemon's containers on that network lose
# their connection, and no new one starts on it until docker0 is made again by hand or the first daemon is restarted.
# Expected: with `none` ("disable container networking") a daemon does not change devices that are not its own.
set -euo pipefail
version=20.10.24+dfsg1-1+deb12u1+b6
folder=$(mktemp -d)
pid=
cleanup() {
  if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then timeout 30 tail --pid="$pid" -f /dev/null || true; fi
  umount "$folder/net" "$folder/root" 2>/dev/null || true; rm -rf "$folder"
}
trap cleanup EXIT

cd "$folder"
apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null
apt-get -qq download "docker.io=$version" containerd runc tini >/dev/null 2>&1
for package in ./*.deb; do dpkg -x "$package" tree; done
export PATH=$folder/tree/usr/sbin:$folder/tree/usr/bin:$PATH
mkdir exec root
touch net
unshare --net="$folder/net" ip link add docker0 type bridge
bridges() { nsenter --net="$folder/net" ip -o link show type bridge | cut -d: -f2 | tr -d ' '; }
echo "before: $(bridges)"
echo '{}' >daemon.json # not the machine's own
nsenter --net="$folder/net" dockerd --config-file daemon.json --data-root "$folder/root" --exec-root "$folder/exec" --pidfile "$folder/dockerd.pid" \
  --host "unix://$folder/docker.sock" --bridge=none --iptables=false --ip6tables=false >dockerd.log 2>&1 &
pid=$!
ask() { curl -sS --unix-socket docker.sock "$@"; }
for _ in $(seq 100); do ask http://engine/_ping >/dev/null 2>&1 && break; sleep 0.2; done
ask http://engine/version | grep -o '"Version":"20[^"]*"' | head -n 1

echo "after: $(bridges)"
[ -z "$(bridges)" ] || { echo "this has changed"; exit 1; }
echo "as stated"
