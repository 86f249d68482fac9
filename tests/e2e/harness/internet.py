# SPDX-License-Identifier: Apache-2.0
"""A small Internet behind vmnatd's uplink: a router, and a host beyond it, both with web, echo and DNS servers.

    gateway namespace            router namespace                      host namespace
    vmnatd -- uplink0 ======= isp0 203.0.113.1   far0 198.51.100.1 ======= eth0 198.51.100.2

The router knows no way back to the VMs' networks: only what was translated gets an answer. It also watches:
`leaks()` are the frames that left by the uplink with another source than the uplink's address.
"""

import contextlib
import pathlib

from . import config
from .internet_host import BLOB_BYTES, DNS_PORT, ECHO_PORT, HTTP_PORT, blob_digest
from .namespace import LeakWatch, Namespace, veth
from .processes import Process
from .waiting import wait_until

HOST = "198.51.100.2"
HOST_PROGRAM = pathlib.Path(__file__).parent / "internet_host.py"

__all__ = ["BLOB_BYTES", "DNS_PORT", "ECHO_PORT", "HOST", "HTTP_PORT", "Internet", "blob_digest"]


class Internet:
    """The router's and the host's namespaces, cabled to `uplink0` in the gateway's namespace."""

    def __init__(self, directory, gateway, mtu=1500):
        self.scope = contextlib.ExitStack()
        self.router = self.scope.enter_context(Namespace("router"))
        self.host = self.scope.enter_context(Namespace("host"))
        veth(gateway, "uplink0", self.router, "isp0", mtu)
        veth(self.router, "far0", self.host, "eth0", mtu)
        self.router.set_address("isp0", f"{config.UPLINK_ROUTER}/24")
        self.router.set_address("far0", "198.51.100.1/24")
        self.router.forward_ipv4()
        self.host.set_address("eth0", f"{HOST}/24")
        self.host.add_route("default", "198.51.100.1")
        self.watch = LeakWatch(self.router, "isp0", [config.UPLINK_ADDRESS])
        self.scope.callback(self.watch.close)
        self.servers = [self.serve(namespace, directory / f"{namespace.name}.log")
                        for namespace in (self.router, self.host)]

    def serve(self, namespace, log) -> Process:
        server = self.scope.enter_context(Process(["/usr/bin/python3", HOST_PROGRAM], log=log, namespace=namespace))
        wait_until(lambda: not server.running() or "serving" in server.log(), f"the servers of {namespace.name}")
        if not server.running():
            raise RuntimeError(f"the servers of {namespace.name} do not start:\n{server.log_tail()}")
        return server

    def leaks(self) -> list[str]:
        return [frame[:64].hex(" ") for frame in self.watch.leaks()]

    def requests(self) -> list[str]:
        """What the far host's web server was asked: `http ADDRESS PORT PATH`."""
        return self.told("http")

    def told(self, what) -> list[str]:
        """What the far host's servers have written about it, the lines that begin with this word."""
        return [line for line in self.servers[1].log().splitlines() if line.startswith(f"{what} ")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.scope.close()
