# SPDX-License-Identifier: Apache-2.0
"""The lab of kernel_lab.py with the machine that vmnatd runs on, the host, on the network of its VMs; what the files
about `networks[].host` share. The gateway's namespace is the host's, in which vmnatd makes the interface vmnat0.
"""

import contextlib
import copy
import json

from harness import processes
from harness.daemon import program
from harness.tap import check
from kernel_lab import GATEWAY, MB, Host, KernelLab, Stream

OPEN, CLOSED = 9000, 9100  # ports of the host; of both it has listeners where a test asks for them
SERVICES = [f"tcp/{OPEN}-{OPEN + 99}", f"udp/{OPEN}"]


class GatewaysHost(Host):
    """The host, in the namespace of vmnatd."""

    def __init__(self, scope, namespace):
        self.namespace, self.name, self.address = namespace, "the host", GATEWAY
        self.opened = scope.enter_context(contextlib.ExitStack())


class HostLab(KernelLab):
    def __init__(self, scope, network=None, **sections):
        network = {"host": {"interface": "vmnat0", "services": SERVICES}} | (network or {})
        super().__init__(scope, prepare=self.add_host, network=network, **sections)

    def add_host(self, _lab):
        self.host = GatewaysHost(self.scope, self.gateway)

    def interface(self, name="vmnat0"):
        """What `ip address` says of it; none: there is none."""
        answer = self.gateway.run("ip", "-j", "address", "show", "dev", name, check=False)
        return json.loads(answer.stdout)[0] if answer.returncode == 0 else None

    def refused(self) -> int:
        return self.vmnatd.counters()["drop.host_service"]

    def network(self) -> dict:
        return self.vmnatd.config["networks"][0]

    @contextlib.contextmanager
    def changed(self):
        """The configuration is the block's to change, and is what it was afterwards; a reload both times."""
        former = copy.deepcopy(self.vmnatd.config)
        try:
            yield self.vmnatd.config
        finally:
            self.vmnatd.config = former
            self.reload()

    def reload(self):
        self.vmnatd.write_config()
        return self.vmnatd.ctl_text("reload")

    def reload_refused(self) -> str:
        self.vmnatd.write_config()
        answer = processes.run([program("vmnatctl"), "--socket", self.vmnatd.config["control"]["socket"], "reload"],
                               check=False)
        check(answer.returncode != 0, f"a reload was taken: {answer.stdout}")
        return answer.stdout + answer.stderr

    def check_reached(self):
        """The host reaches a VM and is reached by it."""
        for ends in (self.connect(self.host, self.vm1), self.connect(self.vm1, self.host, port=OPEN + 1)):
            Stream(*ends, MB).finish()
            Stream(*ends[::-1], MB).finish()
