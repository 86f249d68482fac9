#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a STUN client finds out about the NAT (RFC 5780): mapping and filtering, as configured per network.

    hosts on four networks == veth == vmnatd == veth == turnserver on 198.51.100.1 and .2, ports 3478 and 3479

The client is coturn's turnutils_natdiscovery, in a namespace that is a host like any other: Linux' own stack, with
an address, a default route, and ARP. Its verdicts, in its own words, are held against the configuration.
"""

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import LeakWatch, Namespace, veth
from harness.processes import Process
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import wait_until

SERVERS = ("198.51.100.1", "198.51.100.2")
NETWORKS = {  # what nat says of it; what the client is to say
    "default": ({}, "Endpoint Independent Mapping", "Address and Port Dependent Filtering"),
    "known": ({"filtering": "address-dependent"}, "Endpoint Independent Mapping", "Address Dependent Filtering"),
    "open": ({"filtering": "endpoint-independent"}, "Endpoint Independent Mapping", "Endpoint Independent Filtering"),
    "lab": ({"mapping": "endpoint-dependent"}, "Address and Port Dependent Mapping", "Address and Port Dependent Filtering"),
}


class StunLab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Namespace("internet"))
        veth(self.gateway_side, "uplink0", self.internet, "isp0")
        self.internet.set_address("isp0", f"{config.UPLINK_ROUTER}/24")
        for address in SERVERS:
            self.internet.set_address("lo", f"{address}/32")
        self.watch = LeakWatch(self.internet, "isp0", [config.UPLINK_ADDRESS])
        scope.callback(self.watch.close)
        networks = [self.network(scope, number, name) for number, name in enumerate(NETWORKS, 1)]
        self.vmnatd = scope.enter_context(Vmnatd(
            self.directory, config.configuration(self.directory, "uplink0", networks), namespace=self.gateway_side))
        self.server = scope.enter_context(self.start_server())

    def network(self, scope, number, name):
        """A network with one host, whose namespace is kept as an attribute of the network's name."""
        host = scope.enter_context(Namespace(name))
        veth(self.gateway_side, f"port{number}", host, "eth0")
        host.set_address("eth0", f"192.168.{number}.10/24")
        host.add_route("default", f"192.168.{number}.1")
        setattr(self, name, host)
        return config.network(name, f"192.168.{number}.1/24", [config.veth_port(f"host{number}", f"port{number}")],
                              nat=NETWORKS[name][0])

    def start_server(self) -> Process:
        log = self.directory / "turnserver.log"
        server = Process(["turnserver", "-n", "--stun-only", "--no-cli", "--no-tls", "--no-dtls", "--no-auth",
                          "--log-file", "stdout", "--simple-log", "--pidfile", self.directory / "turnserver.pid",
                          "--userdb", self.directory / "turnserver.db", "--listening-port", 3478,
                          "--alt-listening-port", 3479, *(f"--listening-ip={address}" for address in SERVERS)],
                         log=log, namespace=self.internet)
        listening = [f"{address}:{port}" for address in SERVERS for port in (3478, 3479)]

        def ready():
            check(server.running(), f"turnserver ended\n{server.log_tail()}")
            sockets = self.internet.run("ss", "-Hlun").stdout
            return all(endpoint in sockets for endpoint in listening)
        wait_until(ready, "turnserver listens on two addresses and two ports")
        return server

    def discover(self, network, kind) -> str:
        """The client's output about "-m" (mapping), "-f" (filtering) or "-H" (hairpinning), seen from that network's host."""
        return getattr(self, network).run("turnutils_natdiscovery", kind, SERVERS[0], seconds=60).stdout

    def evidence(self) -> str:
        return f"{self.vmnatd.evidence()}\n--- turnserver\n{self.server.log_tail()}"


suite = Suite(StunLab)


def tells(network, kind, expected):
    def subtest(lab):
        output = lab.discover(network, kind)
        check(f"NAT with {expected}!" in output, f"the client says:\n{output}")
    return subtest


for name, (nat, mapping, filtering) in NETWORKS.items():
    how = ", ".join(f"{key}: {value}" for key, value in nat.items()) or "the defaults"
    suite.test(f"with {how}, a STUN client finds {mapping}")(tells(name, "-m", mapping))
    suite.test(f"with {how}, a STUN client finds {filtering}")(tells(name, "-f", filtering))


@suite.test("with endpoint-independent filtering, a STUN client reaches itself by its mapping (hairpinning)")
def hairpin(lab):
    output = lab.discover("open", "-H")
    check("successful hairpinning" in output, f"the client says:\n{output}")


@suite.test("after all of this every frame is accounted for, and no inside address left by the uplink")
def in_the_end(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.watch.leaks()[:5], [], "frames with a foreign source on the uplink")


if __name__ == "__main__":
    suite.main()
