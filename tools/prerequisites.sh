#!/bin/sh
# What the demo, the tests and the benchmarks need. On Debian, as root, what is missing is installed; elsewhere the
# checks of e2e/cluster say in one line what to install.
set -eu
programs="containerd:containerd runc:runc ip:iproute2 nft:nftables openssl:openssl debootstrap:debootstrap git:git"
missing=""
for entry in $programs; do
  command -v "${entry%%:*}" >/dev/null 2>&1 || missing="$missing ${entry#*:}"
done
[ -x /usr/lib/cni/ptp ] || missing="$missing containernetworking-plugins"
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing:$missing"
  # Another apt, such as that of unattended upgrades, may hold the lock: for five minutes it is waited for.
  tries=20
  # shellcheck disable=SC2086
  until apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends $missing >/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 15
  done
fi
command -v uv >/dev/null 2>&1 || python3 -m pip install --quiet --root-user-action=ignore uv ||
  { echo "install uv: python3 -m pip install uv" >&2; exit 1; }
