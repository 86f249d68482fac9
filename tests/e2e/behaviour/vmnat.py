# SPDX-License-Identifier: Apache-2.0
"""vmnatd on the wires of gateway.py. Counters are read over one connection to the admin socket: they are read
before and after every case."""

import contextlib
import json
import socket

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import LeakWatch
from harness.tap import check, check_equal, scratch_directory
from harness.waiting import wait_until
from harness.wire import UDP, Raw

from .gateway import (ABSENT, EXTERNAL, FORWARDS, MACS, ON_LINK, PREFIXES, RANGE, REMOTE, RESTRICTED, SHARED, STRANGER,
                      UPLINK_MTU, Gateway)

NAT = {"default": {"forwards": [{"protocol": protocol, "port": port, "to": f"{to}:{to_port}"}
                                for protocol, port, to, to_port in FORWARDS]
                   + [{"protocol": "tcp", "port": 9090, "to": f"{ABSENT}:80"},
                      {"protocol": "udp", "port": f"{RANGE[0]}-{RANGE[1]}", "to": f"{RANGE[2]}:{RANGE[3]}"},
                      {"protocol": "tcp", "port": RESTRICTED[1], "to": f"{RESTRICTED[2]}:{RESTRICTED[3]}",
                       "from": RESTRICTED[0]},
                      {"protocol": "tcp", "port": SHARED[0], "to": [f"{vm}:{SHARED[2]}" for vm in SHARED[1]]}]},
       "lab": {"mapping": "endpoint-dependent", "tcp_mid_stream": "drop"},
       "open": {"filtering": "endpoint-independent"},
       "known": {"filtering": "address-dependent", "tcp_mid_stream": "pick-up"},
       "brief": {"timeouts": {"udp": "10s", "udp_answered": "5s", "icmp": "5s", "tcp_transitory": "5s", "other": "5s"}}}

OWNED = {"vm6": {"guard": "on", "mac": "52:54:00:aa:00:06", "address": f"{PREFIXES['known']}.10"}}


class VmnatGateway(Gateway):
    nat = NAT  # by network
    leaves_with = (EXTERNAL,)  # the sources that are seen outside

    def __init__(self, scope):
        super().__init__(scope, "vmnat")
        scope.callback(self.close)
        self.watch = LeakWatch(self.wires, "isp0", self.leaves_with)
        scope.callback(self.watch.close)
        directory = scratch_directory(scope)
        self.vmnatd = scope.enter_context(Vmnatd(directory, self.configuration(directory), namespace=self.inside))
        self.admin = None
        scope.callback(lambda: self.admin and self.admin.close())
        self.settle()

    def configuration(self, directory):
        networks = []
        for name, prefix in PREFIXES.items():
            ports = [config.veth_port(guest, port) | OWNED.get(guest, {})
                     for guest, port in self.ports_of(name).items()]
            keys = {"nat": self.nat[name]} if name in self.nat else {}
            networks.append(config.network(name, f"{prefix}.1/24", ports, mac=MACS[name],
                                           forward="none" if name == "alone" else "nat", **keys))
        made = config.configuration(directory, "uplink0", networks)
        made["uplink"]["mtu"] = UPLINK_MTU
        return made

    def settle(self):
        """Everybody is known: the VMs to the switch, the forwards' VMs and the next hops by ARP."""
        for guest in self.guests.values():
            guest.send(guest.arp(1, guest.address))
        wait_until(lambda: self.collect() is not None and all(
            forward["mac"] for forward in self.ask("forwards") if not forward["internal"].startswith(ABSENT)),
            "the forwards' VMs are known")
        for remote in (REMOTE, ON_LINK):
            self.let_through(self.guests["vm1"], self.guests["vm1"].ip(remote) / UDP(sport=1999, dport=9) / Raw(b"settle"),
                             self.router)
        for guest, port in ((self.guests["vm5"], 1998), (self.guests["vm6"], 1997)):
            self.let_through(guest, guest.ip(STRANGER) / UDP(sport=port, dport=9) / Raw(b"settle"), self.router)
            self.let_through(self.router, self.router.ip(EXTERNAL, src=STRANGER) /
                             UDP(sport=8, dport=port) / Raw(b"settle"), guest)
        for station in self.stations.values():
            self.fence(station)
        self.collect()

    def let_through(self, sender, frame, receiver):
        """A frame arrives there, however long vmnatd asks for it by ARP."""
        sender.send(frame)
        wait_until(lambda: any(b"settle" in raw for raw in self.collect().get(receiver.name, [])),
                   f"a datagram from {sender.name} reaches {receiver.name}")

    # --- what it says -------------------------------------------------------------------------------------

    def ask(self, command, **arguments):
        """The answer to one command, over a connection that stays; vmnatd ends one that is silent for a minute, as
        while the other gateway is tried, and a new one is made."""
        line = json.dumps({"command": command, "arguments": arguments}).encode() + b"\n"
        answer = self.first_line_of_answer(line) or self.first_line_of_answer(line)
        check(answer, f"{command}: vmnatd does not answer")
        head = json.loads(answer)
        check(head["ok"], f"{command}: {head.get('error')}")
        items = []
        while "end" not in (item := json.loads(self.answers.readline())):
            items.append(item)
        return items if head["kind"] == "list" else items[0]

    def first_line_of_answer(self, line) -> bytes:
        """Empty when the connection had ended."""
        if not self.admin:
            self.admin = socket.socket(socket.AF_UNIX)
            self.admin.settimeout(60)
            self.admin.connect(self.vmnatd.config["control"]["socket"])
            self.answers = self.admin.makefile("rb")
        with contextlib.suppress(ConnectionError):
            self.admin.sendall(line)
            if answer := self.answers.readline():
                return answer
        self.admin.close()
        self.admin = None
        return b""

    def drops(self) -> dict[str, int]:
        return {name.removeprefix("drop."): value for name, value in self.ask("counters").items()
                if name.startswith("drop.")}

    def sessions(self, **filters):
        return self.ask("sessions", **filters)

    def check_in_the_end(self):
        self.vmnatd.check_accounting()
        leaks = [frame[:64].hex(" ") for frame in self.watch.leaks()]
        check_equal(leaks[:5], [], "frames with a foreign source on the uplink")
        for worker in self.ask("invariants"):
            check(worker["holds"], f"the session tables do not agree: {worker['why']}")


    def evidence(self) -> str:
        with contextlib.suppress(Exception):
            return self.vmnatd.evidence()
        return ""
