#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The two commands of the README in a fresh minimal Debian bookworm: debootstrap, a clone, ./run demo, ./run test.
#
#   ./run fresh                 both commands
#   ./run fresh demo            one of them
#   ./run fresh build "test --suite unit"
set -euo pipefail
repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
[ $# -gt 0 ] || set -- demo test
. "$repository/tests/e2e/chroot.sh"
make_chroot fresh

git -c safe.directory='*' clone -q "$repository" "$chroot/root/vmnat"
echo "fresh: clone of $(git -C "$repository" describe --always --dirty) in $chroot/root/vmnat"
for arguments; do
  echo "fresh: ./run $arguments"
  began=$SECONDS
  # shellcheck disable=SC2086  # one command with its arguments
  in_chroot /bin/bash -c 'cd /root/vmnat && exec ./run "$@"' run $arguments
  echo "fresh: ./run $arguments: passed in $((SECONDS - began)) s"
done
check_nothing_left
