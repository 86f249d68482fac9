#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What single protocols ask of a NAT, on veth ports: TCP's MSS, UDP's checksum of zero, protocols without ports;
veth_lab.py draws the wires.

    default   mss_clamp: 1300
    lab       as it comes, with an MTU of 1400: what is left is 1360
"""

from harness import config
from harness.tap import Suite, check, check_equal
from harness.wire import ICMP, IP, TCP, UDP, Raw, check_checksums
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import GRE
from scapy.layers.sctp import SCTP, SCTPChunkInit
from veth_lab import FORWARDED, GATEWAY_MACS, REMOTE, VethLab, end_with_accounts, times

OTHER = "198.51.100.3"
PORTLESS = {"GRE": (47, GRE(proto=0x0800) / IP(src="10.1.1.1", dst="10.2.2.2") / UDP()),
            "ESP": (50, ESP(spi=7, seq=1, data=b"not for your eyes")),
            "SCTP": (132, SCTP(sport=5000, dport=80) / SCTPChunkInit(init_tag=1)),
            "protocol 200": (200, Raw(b"whatever this may be, it has addresses"))}


def make_lab(scope):
    lab = VethLab(scope, networks={"lab": {"mtu": 1400}}, default={"mss_clamp": 1300})
    lab.settle()
    return lab


suite = Suite(make_lab)


def options(frame):
    return [option for option in frame[TCP].options if option[0] != "EOL"]


def expect_mss(lab, guest, port, sent, seen):
    """A SYN out and a SYN ACK in: both carry `sent` and are seen with `seen`; then a segment that is no SYN."""
    # Scapy puts the options one behind the other: the MSS stands at an odd offset.
    said = [("NOP", None), ("MSS", sent), ("WScale", 7), ("SAckOK", b"")]
    with lab.counting(**times(3, FORWARDED)):
        guest.wire.send(guest.routed(REMOTE) / TCP(sport=port, dport=80, flags="S", options=said))
        syn = lab.router.expect(lambda f: TCP in f, "the SYN")
        lab.router.send(lab.inbound(TCP(sport=80, dport=syn[TCP].sport, flags="SA", options=said)))
        answer = guest.expect(lambda f: TCP in f, "the SYN ACK")
        guest.wire.send(guest.routed(REMOTE) / TCP(sport=port, dport=80, flags="A", options=said))
        later = lab.router.expect(lambda f: TCP in f, "the ACK")
    expected = [("NOP", None), ("MSS", seen), ("WScale", 7), ("SAckOK", b"")]
    for what, frame, wanted in (("SYN", syn, expected), ("SYN ACK", answer, expected), ("ACK", later, said)):
        check_equal(options(frame), wanted, f"options of the {what}")
        check_checksums(frame)


@suite.test("the MSS of both SYNs is lowered to what the configuration says, and never raised")
def mss_by_number(lab):
    expect_mss(lab, lab.vm1, 4001, 1460, 1300)
    expect_mss(lab, lab.vm1, 4002, 1200, 1200)


@suite.test("by default the MSS is what the smaller MTU leaves")
def mss_by_mtu(lab):
    expect_mss(lab, lab.vm3, 4003, 1460, 1360)
    expect_mss(lab, lab.vm3, 4004, 1360, 1360)


@suite.test("a reload changes the MSS of connections to come")
def mss_after_reload(lab):
    nat = next(network for network in lab.vmnatd.config["networks"] if network["name"] == "default")["nat"]
    try:
        for value, seen in (("off", 1460), (1000, 1000)):
            nat["mss_clamp"] = value
            lab.vmnatd.write_config()
            check_equal(lab.vmnatd.ctl("reload")["changed"], [f"network default: nat.mss_clamp is now {value}"], "reload")
            expect_mss(lab, lab.vm1, 4005, 1460, seen)
    finally:
        nat["mss_clamp"] = 1300
        lab.vmnatd.write_config()
        lab.vmnatd.ctl("reload")


@suite.test("a UDP checksum that comes out as zero is sent as 0xffff, out and in")
def udp_computed_zero(lab):
    with lab.counting(**times(4, FORWARDED)):
        plain = lab.open_udp(lab.vm1, 4006, b"\0\0")
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=4006, dport=53) / Raw(plain[UDP].chksum.to_bytes(2, "big")))
        made = lab.router.expect(lambda f: UDP in f, "the datagram")
        lab.reply_udp(plain, b"\0\0")
        answer = lab.vm1.expect(lambda f: UDP in f, "the answer")
        lab.reply_udp(plain, answer[UDP].chksum.to_bytes(2, "big"))
        made_answer = lab.vm1.expect(lambda f: UDP in f, "the made answer")
    for frame in (made, made_answer):
        check_equal(hex(frame[UDP].chksum), "0xffff", "the checksum")
        check_checksums(frame)


def l4_bytes(frame):
    return bytes(frame)[34:14 + frame[IP].len]


@suite.test("GRE, ESP, SCTP and unknown protocols go out and come back by address, to the byte")
def portless(lab):
    for name, (protocol, inner) in PORTLESS.items():
        with lab.counting(**times(2, FORWARDED)):
            lab.vm1.wire.send(lab.vm1.wire.to(GATEWAY_MACS["default"]) /
                              IP(src=lab.vm1.address, dst=REMOTE, proto=protocol) / inner)
            out = lab.router.expect(lambda f, p=protocol: IP in f and f[IP].proto == p, f"{name} on the uplink")
            lab.router.send(lab.router.to(config.UPLINK_MAC) /
                            IP(src=REMOTE, dst=config.UPLINK_ADDRESS, proto=protocol) / inner)
            back = lab.vm1.expect(lambda f, p=protocol: IP in f and f[IP].proto == p, f"{name} at the VM")
        check_equal((out[IP].src, out[IP].dst, out[IP].ttl), (config.UPLINK_ADDRESS, REMOTE, 63), f"{name} out")
        check_equal((back[IP].src, back[IP].dst, back[IP].ttl), (REMOTE, lab.vm1.address, 63), f"{name} back")
        for frame in (out, back):
            check_equal(l4_bytes(frame), bytes(inner), f"{name}, byte by byte")
            check_checksums(IP_only(frame))
        session = lab.vmnatd.sessions("--protocol", str(protocol))
        check_equal([(s["internal"], s["external"], s["remote"], s["protocol"]) for s in session],
                    [(lab.vm1.address, config.UPLINK_ADDRESS, REMOTE, str(protocol))], "the session")


def IP_only(frame):
    """The IPv4 header alone, in a frame for check_checksums."""
    packet = frame[IP].copy()
    packet.remove_payload()
    packet.len = frame[IP].len
    return frame.__class__(src=frame.src, dst=frame.dst) / packet / Raw(l4_bytes(frame))


@suite.test("a second VM is refused the same remote and protocol with ICMP, and gets another remote")
def one_holder(lab):
    for name, (protocol, inner) in PORTLESS.items():
        def frame(guest, remote):
            return guest.wire.to(GATEWAY_MACS["default"]) / IP(src=guest.address, dst=remote, proto=protocol) / inner
        lab.vm1.wire.send(frame(lab.vm1, REMOTE))
        lab.router.expect(lambda f, p=protocol: IP in f and f[IP].proto == p, f"the holder's {name}")
        with lab.counting(received=1, generated=1, transmitted=1, dropped={"drop.no_port": 1}):
            lab.vm2.wire.send(frame(lab.vm2, REMOTE))
            error = lab.vm2.expect(lambda f: ICMP in f, "the refusal")
        check_equal((error[IP].src, error[ICMP].type, error[ICMP].code), (lab.vm2.gateway, 3, 13), "the refusal")
        with lab.counting(**FORWARDED):
            lab.vm2.wire.send(frame(lab.vm2, OTHER))
            lab.router.expect(lambda f, p=protocol: IP in f and f[IP].proto == p, f"{name} to another remote")


@suite.test("what nobody asked for is dropped in silence")
def unsolicited(lab):
    with lab.counting(received=4, dropped={"drop.no_session": 4}):
        for protocol, inner in PORTLESS.values():
            lab.router.send(lab.router.to(config.UPLINK_MAC) /
                            IP(src="198.51.100.66", dst=config.UPLINK_ADDRESS, proto=protocol) / inner)
    check(not lab.router.drain(), "an answer on the uplink")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
