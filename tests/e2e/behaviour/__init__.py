# SPDX-License-Identifier: Apache-2.0
"""The behaviour suite: what a NAT gateway does with every kind of frame, case by case, to the byte.

The same cases run against vmnatd and, as a control, against the Linux kernel with bridges and nftables
masquerade, as libvirt builds them: what the kernel is known to do right, the tests must find right.

    frames.py    building frames, what they look like when translated, and what an ICMP error must hold
    gateway.py   the wires: a frame goes in, everything that comes out anywhere is seen
    vmnat.py     vmnatd on these wires                kernel.py   bridges, routes and nftables on them
    case.py      a case, what it expects of whom, and the list of all cases
    lab.py       all of them, one after the other, on both

The other files hold the cases, grouped by what they are about; each is a few lines:

    @case("UDP goes out from the external address, its port kept, and the answer comes back")
    def out_and_back(t):
        question = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=53) / b"question"
        t.put(t.vm1, question, router=[t.out(question)])

`put` gives a frame to the gateway. What the keywords name must come out, byte by byte, and nothing else anywhere;
`drop` names the counter of vmnatd that must grow. Where the kernel differs, by design or by a known fault,
`kernel=Differs("why", ...)` says what comes out there, so that the control is exact, too.
"""
