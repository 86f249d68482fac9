# SPDX-License-Identifier: Apache-2.0
"""vmnatd between a real VM and the tests' Internet: what vm_demo.py, vm_comes_and_goes.py, restart.py and
demo.py share.

    VM (QEMU) == vhost-user == vmnatd in namespace "gateway" == veth == router == host 198.51.100.2

The port's socket is `ports/NAME.sock`; `mode` is vmnatd's: as "client" it connects to QEMU, as "server" QEMU
connects to it.
"""

import contextlib

from harness import config
from harness.daemon import Vmnatd
from harness.internet import HOST, Internet, blob_digest
from harness.namespace import Namespace
from harness.tap import check, check_equal, scratch_directory
from harness.vm import Vm

GATEWAY = "192.168.122.1"
MAC = "52:54:00:aa:00:01"


class VmLab:
    def __init__(self, scope, mode="client", build=None, features=()):
        """`build`: of another vmnatd than this build's. `features`: of the VM's network card."""
        self.scope, self.mode, self.build, self.features = scope, mode, build, features
        self.directory = scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(self.directory, self.gateway_side))
        self.socket = self.directory / "vm1.sock"
        self.vmnatd = self.vm = None

    def start_vmnatd(self):
        self.vmnatd = self.scope.enter_context(
            Vmnatd(self.directory, self.configuration(), namespace=self.gateway_side, build=self.build))

    def configuration(self):
        default = config.network("default", f"{GATEWAY}/24", [config.vhost_user_port("vm1", self.socket, self.mode)],
                                 mtu=1450, dhcp=config.dhcp("192.168.122.2", "192.168.122.254", domain="lab.example"))
        return config.configuration(self.directory, "uplink0", [default])

    def start_vm(self) -> Vm:
        """Boots the VM, again when there was one; it has no address yet."""
        if self.vm:
            self.vm.kill()
        self.vm = self.scope.enter_context(Vm(self.directory, "vm1", self.socket, MAC, self.mode, features=self.features))
        self.vm.wait_until_booted()
        return self.vm

    def check_reaches_internet(self):
        check(self.vm.ping(GATEWAY, count=2), "the VM does not reach its gateway")
        check(self.vm.ping(HOST, count=2), "the VM does not reach the Internet's host")

    def download(self, seconds=300):
        """10 MB over TCP, compared by hash."""
        answer = self.vm.run(f"set -o pipefail; wget -q -O - http://{HOST}/blob | sha256sum", seconds).check()
        check_equal(answer.output.split()[0], blob_digest(), "SHA-256 of what was downloaded")

    def evidence(self) -> str:
        with contextlib.suppress(AttributeError):
            return self.vmnatd.evidence() + "\n" + self.vm.evidence()
        return ""
