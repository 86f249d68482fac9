# SPDX-License-Identifier: Apache-2.0
"""What must never pass: sources that are not the sender's, destinations that are not one host's, other link frames."""

from .case import ICMP, IP, TCP, UDP, Differs, case
from .frames import NET_UNREACHABLE, PORT_UNREACHABLE, Error, bytes_of_mac, routed
from .gateway import EXTERNAL, MACS, REMOTE, ROUTER_MAC, STRANGER, UPLINK_MAC

LEAKS = "finds it invalid: it leaves with the inside source"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def l4_of(t):
    return UDP(sport=t.port(), dport=9), TCP(sport=t.port(), dport=9, flags="S"), ICMP(id=t.port())


SOURCES = {"10.1.2.3": "an address of nobody here", "192.168.5.10": "a VM's address of another network",
           EXTERNAL: "the external address", "203.0.113.1": "the router's address", REMOTE: "the remote's own address",
           "127.0.0.1": "a loopback address", "224.0.0.5": "a multicast address", "255.255.255.255": "the broadcast address",
           "0.0.0.0": "no address", "240.0.0.1": "a class E address", "192.168.122.1": "the gateway's address",
           "192.168.122.255": "the network's broadcast address", "192.168.122.0": "the network's own address"}
UNTOLD = {"192.168.122.0": "takes it for a host"}

for each_source, each_what in SOURCES.items():
    @case(f"a VM's packet from {each_what} goes nowhere, and nobody is told")
    def spoofed(t, source=each_source):
        for l4 in l4_of(t):
            frame = t.vm1.ip(REMOTE, src=source) / l4 / b"spoofed"
            t.put(t.vm1, frame, drop="spoofed_address" if source == t.vm1.gateway else "source_foreign",
                  kernel=Differs(UNTOLD[source], router=[t.out(frame)]) if source in UNTOLD else None)


DESTINATIONS = {"224.0.0.251": ("multicast", "destination_multicast"),
                "239.1.2.3": ("multicast of a site", "destination_multicast"),
                "255.255.255.255": ("limited broadcast", "destination_multicast"),
                "203.0.113.255": ("the uplink's broadcast address", "destination_multicast"),
                "127.0.0.1": ("loopback", "destination_invalid"), "0.0.0.0": ("no address", "destination_invalid"),
                "240.0.0.1": ("class E", "destination_invalid"),
                "192.0.0.170": ("an address that protocols have to themselves (RFC 6890)", "destination_invalid"),
                "192.168.122.255": ("the network's broadcast address", "destination_inside")}

ROUTED = {"240.0.0.1": "takes class E for hosts", "192.0.0.170": "takes it for a host"}

for each_to, (each_what, each_reason) in DESTINATIONS.items():
    @case(f"a packet to {each_what}, given to the gateway, does not leave")
    def no_host(t, to=each_to, reason=each_reason):
        frame = t.vm1.ip(to) / UDP(sport=t.port(), dport=9) / b"to nobody"
        t.put(t.vm1, frame, drop=reason,
              kernel=Differs(ROUTED[to], router=[t.out(frame)]) if to in ROUTED else None)


@case("a packet to a link-local address does not leave, and its sender is told that there is no way (RFC 3927 section 7)")
def link_local(t):
    for l4 in l4_of(t):
        frame = t.vm1.ip("169.254.169.254") / l4 / b"metadata?"
        t.put(t.vm1, frame, drop="link_local", vm1=[Error(NET_UNREACHABLE, frame, t.vm1.gateway)],
              kernel=Differs("routes link-local addresses", router=[t.out(frame)]))


@case("a packet to a VM of the own network, given to the gateway, is not routed back")
def own_network(t):
    frame = t.vm1.ip(t.vm2.address) / UDP(sport=t.port(), dport=9) / b"the long way"
    t.put(t.vm1, frame, drop="destination_inside",
          kernel=Differs("routes it back", vm2=[routed(frame, (t.vm2.gateway_mac, t.vm2.mac))]))


@case("a spoofed packet cannot use another VM's session")
def foreign_session(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    forged = t.vm5.ip(REMOTE, src=t.vm1.address) / UDP(sport=port, dport=53) / b"forged"
    t.put(t.vm5, forged, drop="source_foreign")
    answer = t.from_remote() / UDP(sport=53, dport=port) / b"for vm1"
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("a packet with an external source cannot use the session behind it")
def external_session(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    for guest in (t.vm1, t.vm2, t.vm5):
        forged = guest.ip(REMOTE, src=EXTERNAL) / UDP(sport=port, dport=53) / b"forged"
        t.put(guest, forged, drop="source_foreign")


@case("an ICMP error from outside that quotes the inside endpoint is dropped")
def quoted_inside(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    inner = IP(bytes(IP(src=t.vm1.address, dst=REMOTE, ttl=60) / UDP(sport=port, dport=53) / b"x"))
    error = t.router.ip(EXTERNAL, src=STRANGER) / ICMP(type=3, code=3) / bytes(inner)[:28]
    t.put(t.router, error, drop="icmp_error")


@case("a VM's ICMP error that quotes the external endpoint is dropped")
def quoted_outside(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    inner = IP(bytes(IP(src=REMOTE, dst=EXTERNAL, ttl=60) / UDP(sport=53, dport=port) / b"x"))
    error = t.vm1.ip(REMOTE) / ICMP(type=3, code=3) / bytes(inner)[:28]
    t.put(t.vm1, error, drop="icmp_error", kernel=Differs(LEAKS, router=[t.leaked(error)]))


# --- frames that are no plain IPv4 ------------------------------------------------------------------------


def tagged(frame, kind=0x8100, control=7):
    raw = bytes(frame)
    return raw[:12] + kind.to_bytes(2, "big") + control.to_bytes(2, "big") + raw[12:]


@case("a VLAN-tagged packet for the gateway goes nowhere")
def vlan(t):
    for kind in (0x8100, 0x88A8):
        t.put(t.vm1, tagged(t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=9) / b"tagged", kind), drop="vlan_tagged")


@case("a VLAN-tagged answer from outside goes nowhere")
def vlan_in(t):
    t.put(t.router, tagged(t.open_udp(t.vm1) / b"tagged"), drop="vlan_tagged")


PRIORITY_TAGS = ((0x8100, 0), (0x8100, 0xA000), (0x88A8, 0x6000))  # VLAN 0: no VLAN (IEEE 802.1Q)


@case("a priority-tagged packet is read as untagged, from a VM and from outside")
def priority_tagged(t):
    for kind, control in PRIORITY_TAGS:
        port = t.port()
        question = t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / b"tagged question"
        t.put(t.vm1, tagged(question, kind, control), router=[t.out(question)])
        answer = t.from_remote() / UDP(sport=53, dport=port) / b"tagged answer"
        t.put(t.router, tagged(answer, kind, control), vm1=[t.back(answer, t.vm1)])


def ipv6(source, destination):
    return (bytes_of_mac(destination) + bytes_of_mac(source) + b"\x86\xdd" + b"\x60\0\0\0\0\x08\x11\x40" + bytes(32)
            + b"\x10\x00\x10\x01\x00\x08\x00\x00")


@case("IPv6 for the gateway does not leave by the uplink")
def ipv6_out(t):
    t.put(t.vm1, ipv6(t.vm1.mac, MACS["default"]), drop="ether_type")


@case("IPv6 from outside goes nowhere")
def ipv6_in(t):
    t.put(t.router, ipv6(ROUTER_MAC, UPLINK_MAC), drop="ether_type")


@case("other Ethernet types and LLC for the gateway and from outside go nowhere")
def other_types(t):
    for kind in (b"\x88\xcc", b"\x90\x00", b"\x00\x30", b"\xff\xff"):
        t.put(t.vm1, bytes_of_mac(MACS["default"]) + bytes_of_mac(t.vm1.mac) + kind + bytes(50), drop="ether_type")
        t.put(t.router, bytes_of_mac(UPLINK_MAC) + bytes_of_mac(ROUTER_MAC) + kind + bytes(50), drop="ether_type")


@case("a frame from a group address or from no address is dropped")
def bad_source_mac(t):
    for mac in ("01:00:5e:00:00:01", BROADCAST, "00:00:00:00:00:00"):
        frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=9) / b"from a group"
        frame.src = mac
        t.put(t.vm1, frame, drop="source_mac")


@case("a packet for outside in a broadcast frame stays on its network")
def broadcast_frame(t):
    frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=9) / b"routed?"
    frame.dst = BROADCAST
    t.put(t.vm1, frame, vm2=[frame])


@case("a packet for outside to the zero MAC stays on its network")
def nobodys_frame(t):
    frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=9) / b"routed?"
    frame.dst = "00:00:00:00:00:00"
    t.put(t.vm1, frame, vm2=[frame])


@case("a packet for outside to another VM's MAC stays on its network")
def neighbours_frame(t):
    frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=9) / b"routed?"
    frame.dst = t.vm2.mac
    t.put(t.vm1, frame, vm2=[frame])


@case("a service that the gateway does not have is refused by it")
def gateway_service(t):
    datagram = t.vm1.ip(t.vm1.gateway) / UDP(sport=t.port(), dport=9999) / b"service?"
    t.put(t.vm1, datagram, drop="gateway_service", vm1=[Error(PORT_UNREACHABLE, datagram, t.vm1.gateway)])
