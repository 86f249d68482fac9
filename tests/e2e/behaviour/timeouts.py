# SPDX-License-Identifier: Apache-2.0
"""Sessions end when nothing is sent any more, and not before (RFC 4787 section 4.3, RFC 5508 REQ-2).

Of vm7's network: 5 s, UDP 10 s but for one question to a port below 1024. A session is looked for as soon as it is open, for a busy machine's sake.
"""

from harness.tap import check, check_equal
from harness.waiting import wait_until

from .case import ICMP, TCP, UDP, case
from .frames import PORT_UNREACHABLE, Error
from .gateway import EXTERNAL, REMOTE

NO_SHORT_TIMEOUTS = "its timeouts are the whole namespace's"


def sessions_of(t, port):
    return t.gateway.sessions(internal=f"{t.vm7.address}:{port}")


@case("UDP, TCP in opening and ICMP sessions end after their time; what comes later is not let in", kernel=NO_SHORT_TIMEOUTS)
def expiry(t):
    udp, tcp, icmp = t.port(), t.port(), t.port()
    answer = t.open_udp(t.vm7, udp) / b"too late"
    check_equal(len(sessions_of(t, udp)), 1, "sessions of the datagram")
    t.pass_out(t.vm7, t.vm7.ip(REMOTE) / TCP(sport=tcp, dport=80, flags="S", seq=1))
    check_equal(len(sessions_of(t, tcp)), 1, "sessions of the SYN")
    request = t.vm7.ip(REMOTE) / ICMP(id=icmp, seq=1) / b"?"
    t.put(t.vm7, request, router=[t.out(request)])
    check_equal(len(sessions_of(t, icmp)), 1, "sessions of the echo request")
    for port in (udp, tcp, icmp):
        t.wait_until(lambda at=port: not sessions_of(t, at), f"the session of port {port} has ended")
    t.put(t.router, answer, drop="no_session", router=[Error(PORT_UNREACHABLE, answer, EXTERNAL)])
    t.put(t.router, t.from_remote() / TCP(sport=80, dport=tcp, flags="SA", seq=1, ack=2), drop="no_session")
    t.put(t.router, t.from_remote() / ICMP(type=0, id=icmp, seq=1) / b"?", drop="no_session")


@case("one question to a well-known port, answered or not, is forgotten sooner than other UDP (RFC 4787 REQ-5a)",
      kernel=NO_SHORT_TIMEOUTS)
def asked(t):
    question, answered, conversation, other = t.port(), t.port(), t.port(), t.port()
    t.open_udp(t.vm7, question)
    for port, remote_port in ((answered, 53), (conversation, 53), (other, 4433)):
        answer = t.open_udp(t.vm7, port, remote_port=remote_port) / b"answer"
        t.put(t.router, answer, vm7=[t.back(answer, t.vm7)])
    again = t.vm7.ip(REMOTE) / UDP(sport=conversation, dport=53) / b"again"
    t.put(t.vm7, again, router=[t.out(again)])
    lives = {session["internal"].split(":")[1]: session["expires_s"] + session["idle_s"]
             for session in t.gateway.sessions(internal=t.vm7.address)}
    for port, longest in ((question, 5), (answered, 5), (conversation, 10), (other, 10)):
        check(longest - 2 < lives[str(port)] <= longest, f"port {port} lives {lives[str(port)]} s, not {longest}")


@case("what the VM sends keeps a session; what a remote sends does once the VM has answered (RFC 4787 REQ-6)",
      kernel=NO_SHORT_TIMEOUTS)
def refreshed(t):
    kept, left = t.port(), t.port()
    t.open_udp(t.vm7, left)
    answer = t.open_udp(t.vm7, kept) / b"answer"
    question = t.vm7.ip(REMOTE) / UDP(sport=kept, dport=53) / b"again"
    turns = 0

    def other_has_ended():
        nonlocal turns
        turns += 1
        if turns % 2:
            t.put(t.vm7, question, router=[t.out(question)])
        else:
            t.put(t.router, answer, vm7=[t.back(answer, t.vm7)])
        return not sessions_of(t, left)
    wait_until(other_has_ended, "the session that nobody uses has ended")
    check_equal(len(sessions_of(t, kept)), 1, "sessions that are used")
