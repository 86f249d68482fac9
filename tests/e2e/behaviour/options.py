# SPDX-License-Identifier: Apache-2.0
"""IPv4 options (RFC 791 3.1, RFC 7126): source routes go nowhere, all else is left as it is."""

from .case import ICMP, IP, TCP, UDP, Differs, case, solid
from .frames import PARAMETER_PROBLEM
from .gateway import EXTERNAL, REMOTE

NO_OPERATION, END = b"\x01", b"\x00"
ROUTER_ALERT, STREAM, SECURITY = b"\x94\x04\x00\x00", b"\x88\x04\x00\x01", b"\x82\x0b" + bytes(9) + END
RECORD_ROUTE, TIMESTAMP = b"\x07\x07\x04" + bytes(4) + END, b"\x44\x08\x05\x00" + bytes(4)
LOOSE, STRICT = (bytes([number, 7, 4]) + bytes([192, 0, 2, 9]) + END for number in (0x83, 0x89))

KEPT = {"no-operation": NO_OPERATION * 4, "end of list": END * 4, "router alert": ROUTER_ALERT, "stream identifier": STREAM,
        "security": SECURITY, "40 bytes of no-operation": NO_OPERATION * 40}
WRITTEN = {"record route": RECORD_ROUTE, "timestamp": TIMESTAMP}
MALFORMED = {"an option's length of 0": b"\x82\x00\x00\x00", "an option's length of 1": b"\x82\x01\x00\x00",
             "an option longer than the header": b"\x82\x28\x00\x00", "an option without its length": b"\x01\x01\x01\x82"}


def with_options(header, options, l4):
    frame = header / l4 / b"with options"
    frame[IP].options = []
    raw = bytearray(bytes(solid(frame)))
    raw[34:34] = options
    raw[14] = 0x45 + len(options) // 4
    raw[16:18] = (len(raw) - 14).to_bytes(2, "big")
    packet = solid(bytes(raw))
    del packet[IP].chksum
    return solid(packet)


for each_name, each_options in KEPT.items():
    @case(f"{each_name} is kept, whatever the protocol, both ways")
    def kept(t, options=each_options):
        for make in (lambda port: UDP(sport=port, dport=9), lambda port: TCP(sport=port, dport=9, flags="S"),
                     lambda port: ICMP(id=port)):
            frame = with_options(t.vm1.ip(REMOTE), options, make(t.port()))
            t.put(t.vm1, frame, router=[t.out(frame)])
        port = t.port()
        t.open_udp(t.vm1, port)
        answer = with_options(t.from_remote(), options, UDP(sport=53, dport=port))
        t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])

for each_name, each_options in WRITTEN.items():
    @case(f"{each_name} is kept as it is: no address of the gateway is written in")
    def not_written(t, options=each_options):
        frame = with_options(t.vm1.ip(REMOTE), options, UDP(sport=t.port(), dport=9))
        t.put(t.vm1, frame, router=[t.out(frame)], kernel=Differs("writes its address or the time in", router=[Somehow()]))

for each_name, each_options in {"a loose": LOOSE, "a strict": STRICT}.items():
    @case(f"{each_name} source route is dropped, both ways")
    def source_route(t, options=each_options):
        port = t.port()
        t.open_udp(t.vm1, port)
        t.put(t.vm1, with_options(t.vm1.ip(REMOTE), options, UDP(sport=port, dport=53)), drop="ip_options")
        t.put(t.router, with_options(t.from_remote(), options, UDP(sport=53, dport=port)), drop="ip_options")

for each_name, each_options in MALFORMED.items():
    @case(f"{each_name}: dropped, both ways")
    def malformed(t, options=each_options):
        port = t.port()
        t.open_udp(t.vm1, port)
        for sender, header, l4 in ((t.vm1, t.vm1.ip(REMOTE), UDP(sport=port, dport=53)),
                                   (t.router, t.from_remote(), UDP(sport=53, dport=port))):
            frame = with_options(header, options, l4)
            t.put(sender, frame, drop="ip_options",
                  kernel=Differs("tells of a parameter problem", **{sender.name: [Problem()]}))


class Somehow:
    """The packet came through; what the kernel wrote into its options is the kernel's affair."""

    def fault(self, raw):
        return "" if raw[26:30] == bytes(map(int, EXTERNAL.split("."))) else f"is {raw.hex(' ')}"


class Problem:
    def fault(self, raw):
        at = 14 + 4 * (raw[14] & 15)
        return "" if (raw[at], raw[at + 1]) == PARAMETER_PROBLEM else f"is {raw.hex(' ')}"
