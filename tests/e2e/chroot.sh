# SPDX-License-Identifier: Apache-2.0
# A minimal Debian bookworm in a chroot, for scripts that source this; it goes when the script ends, however it ends.
#
#   . "$(dirname "$0")/chroot.sh"
#   make_chroot fresh                   # what messages begin with
#   in_chroot ls /                      # a clean environment, no input
#   check_nothing_left                  # neither files in /tmp nor processes
#
# It has this machine's apt sources and resolver, and /proc, /sys and /dev of its own: no /dev/kvm, no huge pages, no
# running systemd, locale C, no terminal. $scratch is a directory for the script, $chroot the chroot's root in it.

clean_up_chroot() {
  local mounted
  awk -v below="$scratch/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | tac | while read -r mounted; do
    umount "$mounted" || umount -l "$mounted"
  done
  if grep -q " $scratch/" /proc/self/mounts; then
    echo "$chroot_user: something is still mounted below $scratch; it is left there" >&2
  else
    rm -rf --one-file-system "$scratch"
  fi
}

mirror() {  # the mirror that this machine itself has bookworm from
  local files=(/etc/apt/sources.list /etc/apt/sources.list.d/*)
  { cat "${files[@]}" 2>/dev/null || true; } | sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *(https?:\/\/[^ ]*debian\/?)( .*)?$/\3/p' | head -n 1
}

own_devices() {
  mount -t tmpfs -o mode=755 vmnat-dev "$chroot/dev"
  mkdir "$chroot/dev/pts" "$chroot/dev/shm" "$chroot/dev/net"
  mount -t devpts -o newinstance,ptmxmode=666 vmnat-pts "$chroot/dev/pts"
  mount -t tmpfs vmnat-shm "$chroot/dev/shm"
  ln -s /proc/self/fd "$chroot/dev/fd"
  ln -s pts/ptmx "$chroot/dev/ptmx"
  local name major minor
  while read -r name major minor; do mknod -m 666 "$chroot/dev/$name" c "$major" "$minor"; done <<'DEVICES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200
DEVICES
}

make_chroot() {  # NAME_OF_THE_SCRIPT
  chroot_user=$1
  [ "$(id -u)" = 0 ] || { echo "$chroot_user: needs root, for debootstrap and chroot" >&2; exit 2; }
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/vmnat-$chroot_user-XXXXXX")
  chroot=$scratch/bookworm
  trap clean_up_chroot EXIT
  trap 'echo "$chroot_user: failed at line $LINENO: $BASH_COMMAND" >&2' ERR
  trap 'exit 130' INT TERM HUP
  echo "$chroot_user: debootstrap bookworm (minbase) into $chroot"
  local from
  from=$(mirror)
  from=${from:-http://deb.debian.org/debian}
  debootstrap --variant=minbase bookworm "$chroot" "$from" >"$scratch/debootstrap.log" ||
    { tail -n 20 "$scratch/debootstrap.log" >&2; exit 2; }
  cp /etc/resolv.conf /etc/hosts "$chroot/etc/"
  {
    echo "deb $from bookworm main"
    echo "deb $from bookworm-updates main"
    echo "deb http://deb.debian.org/debian-security bookworm-security main"
  } >"$chroot/etc/apt/sources.list"
  # A root that is a mount point, as a container's is: `ip netns exec` asks for it.
  mount --bind "$chroot" "$chroot"
  mount --make-private "$chroot"
  mount -t proc vmnat-proc "$chroot/proc"
  mount -t sysfs vmnat-sys "$chroot/sys"
  own_devices
}

in_chroot() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TERM=dumb DEBIAN_FRONTEND=noninteractive \
    chroot "$chroot" "$@" </dev/null
}

check_nothing_left() {
  local left_behind root
  left_behind=$(chroot "$chroot" /bin/ls -A /tmp)
  [ -z "$left_behind" ] || { echo "$chroot_user: left behind in /tmp: $left_behind" >&2; exit 1; }
  for root in /proc/[0-9]*/root; do
    if [ "$(readlink "$root" 2>/dev/null)" = "$chroot" ]; then
      echo "$chroot_user: left running: $(tr '\0' ' ' <"${root%/root}/cmdline")" >&2
      exit 1
    fi
  done
  echo "$chroot_user: nothing is left behind"
}
