#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The life of the package in a fresh minimal Debian bookworm: installed, started as its unit says, upgraded to a higher
# version, removed, purged. `./run package --test` builds the packages and calls this with the folder that they are in.
#
#   tests/e2e/package_chroot.sh build-package
#
# No systemd runs in the chroot: setpriv(1) gives the daemon the user, groups and capabilities of the unit's [Service],
# and its ExecCondition is asked before. It has a network namespace of its own, whose uplink is one end of a veth pair.
set -euo pipefail
packages=$(realpath "$1")
. "$(dirname "$0")/chroot.sh"
make_chroot package

configuration=/etc/vmnat/vmnat.yaml
says() { echo "package: $*"; }
fail() { says "FAILED: $*" >&2; exit 1; }

installed_version() { in_chroot dpkg-query -W -f '${Version}' vmnat; }
service() {  # KEY: what the unit's [Service] says of it
  sed -n "/^\[Service\]/,/^\[/ s/^$1=//p" "$chroot/lib/systemd/system/vmnat.service"
}

# The packages, and those that they need, but nothing that they only recommend. Nobody is there to be asked about an
# edited configuration: it stays.
install_packages() {
  in_chroot apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold install --yes --no-install-recommends "$@"
}

# The same package under a higher version, with another example configuration: it may not touch an edited one.
make_upgrade() {
  local deb=$1 tree=$scratch/upgrade
  dpkg-deb --raw-extract "$deb" "$tree"
  sed -i 's/^Version: .*/&+upgrade/' "$tree/DEBIAN/control"
  echo '# another example' | tee -a "$tree$configuration" >>"$tree/usr/share/vmnat/vmnat.yaml"
  dpkg-deb --root-owner-group --build "$tree" "$chroot/root/upgrade.deb" >/dev/null
}

# Becomes COMMAND... with the unit's user, groups and capabilities, in the chroot and its network namespace.
as_the_unit() {
  local capabilities
  capabilities=-all$(for name in $(service AmbientCapabilities); do printf ',+%s' "${name#CAP_}"; done | tr '[:upper:]' '[:lower:]')
  exec ip netns exec "$namespace" env -i PATH=/usr/sbin:/usr/bin RUNTIME_DIRECTORY=/run/vmnat chroot "$chroot" \
    setpriv --reuid="$(service User)" --regid="$(service Group)" --groups="$(service SupplementaryGroups)" \
    --inh-caps="$capabilities" --ambient-caps="$capabilities" --bounding-set="$capabilities" --no-new-privs \
    "$@" </dev/null
}

make_namespace() {
  namespace=vmnat-package-$$
  ip netns add "$namespace"
  trap 'end_daemon; ip netns delete "$namespace"; clean_up_chroot' EXIT
  ip -n "$namespace" link add uplink0 type veth peer name isp0
  ip -n "$namespace" link set isp0 up
}

# What systemd would have made of the unit's directories.
make_directories() {
  install -d -o "$(id_of passwd vmnat)" -g "$(id_of group kvm)" -m "$(service StateDirectoryMode)" "$chroot/var/lib/vmnat"
  in_chroot systemd-tmpfiles --create vmnat.conf
}
id_of() { in_chroot getent "$1" "$2" | cut -d: -f3; }

daemon=
start_daemon() {
  local log=$scratch/vmnatd.log command
  read -ra command <<<"$(service ExecStart)"
  (as_the_unit "${command[@]}") >"$log" 2>&1 &
  daemon=$!
  for ((i = 0; i < 600; ++i)); do
    grep -qx 'vmnatd ready' "$log" && return
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log" >&2
  fail "the daemon is not ready"
}
end_daemon() {  # however it went
  [ -z "$daemon" ] || { kill "$daemon"; wait "$daemon"; } 2>/dev/null || true
}
stop_daemon() {
  kill "$daemon"
  wait "$daemon" || fail "the daemon ended with $?"
  daemon=
}

check_installed() {
  local file
  for file in "$configuration" /usr/sbin/vmnatd /usr/bin/vmnatctl /usr/bin/vmnat-bench /lib/systemd/system/vmnat.service \
    /usr/lib/sysusers.d/vmnat.conf /usr/lib/tmpfiles.d/vmnat.conf /usr/share/bash-completion/completions/vmnatctl \
    /usr/share/man/man8/vmnatd.8.gz /usr/share/man/man1/vmnatctl.1.gz /usr/share/man/man5/vmnat.yaml.5.gz \
    /usr/share/man/man1/vmnat-bench.1.gz; do
    [ -e "$chroot$file" ] || fail "$file is missing"
  done
  [ "$(in_chroot stat -c '%U %G %a' /run/vmnat)" = "vmnat kvm 1771" ] || fail "/run/vmnat is not the daemon's"
  in_chroot vmnat-bench --help >/dev/null
}

check_asks_for_uplink() {
  local condition said
  read -ra condition <<<"$(service ExecCondition)"
  ! said=$( (as_the_unit "${condition[@]}") 2>&1) || fail "the untouched example may start"
  [[ $said == *"set uplink.device there"* ]] || fail "the condition says: $said"
  says "before the uplink is set: $said"
  ! said=$(in_chroot vmnatd --check --config "$configuration" 2>&1) || fail "--check accepts the untouched example"
  [[ $said == "$configuration:"*"'device' is missing"* ]] || fail "--check says: $said"
  sed -i 's/^  # device: .*/  device: uplink0/' "$chroot$configuration"
  (as_the_unit "${condition[@]}") || fail "the edited example may not start"
}

check_runs() {
  in_chroot vmnatctl status | grep -q uplink0 || fail "vmnatctl status does not show the uplink"
  [ "$(in_chroot stat -c %U /run/vmnat/vmnat.sock)" = vmnat ] || fail "the daemon is not user vmnat"
  in_chroot vmnatctl reload >/dev/null || fail "root may not reload"
}

cp "$packages"/vmnat_*_amd64.deb "$chroot/root/vmnat.deb"
cp "$packages"/vmnat-bench_*_amd64.deb "$chroot/root/vmnat-bench.deb"
install_packages /root/vmnat.deb /root/vmnat-bench.deb
version=$(installed_version)
says "installed $version"
check_installed
make_namespace
make_directories
check_asks_for_uplink
start_daemon
check_runs
says "runs as user vmnat: $(service ExecStart)"
in_chroot vmnatctl reserve add 192.168.122.77 --mac 52:54:00:aa:00:77 >/dev/null

make_upgrade "$chroot/root/vmnat.deb"
install_packages /root/upgrade.deb
[ "$(installed_version)" = "$version+upgrade" ] || fail "$(installed_version) is installed"
grep -q uplink0 "$chroot$configuration" || fail "the upgrade has changed the edited configuration"
kill -0 "$daemon" || fail "the upgrade has ended a daemon that is not systemd's"
stop_daemon
start_daemon
check_runs
in_chroot vmnatctl reserve del 192.168.122.77 >/dev/null || fail "the reservation is gone with the upgrade"
stop_daemon
says "upgraded to $version+upgrade"

in_chroot apt-get -qq remove --yes vmnat vmnat-bench
[ ! -e "$chroot/usr/sbin/vmnatd" ] || fail "vmnatd is still there"
[ -e "$chroot$configuration" ] && [ -d "$chroot/var/lib/vmnat" ] || fail "what was set up is gone with a removal"
says "removed"
in_chroot apt-get -qq purge --yes vmnat
for left in /etc/vmnat /var/lib/vmnat /run/vmnat; do [ ! -e "$chroot$left" ] || fail "$left outlives a purge"; done
says "purged"
rm "$chroot"/root/*.deb
check_nothing_left
