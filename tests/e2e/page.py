#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The page at / in a real browser: what it shows of VMs, traffic, drops, sessions, leases and workers, and what it does
when vmnatd goes away and comes back; that nothing a guest says becomes markup, and that it asks nobody else.

The wires are those of veth_lab.py: vm1 and vm2 have leases, vm1 sends without end while a test lets it. Chromium runs
in the gateway's namespace, where nothing but vmnatd listens. For answers that vmnatd does not give there is a front:
a proxy that answers some paths itself.
"""

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import threading
import urllib.parse

from scapy.layers.dhcp import BOOTP, DHCP

from harness import config
from harness.browser import Browser
from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import IP, UDP, Ether, Raw, Router
from veth_lab import REMOTE, ROUTER_MAC, VethLab, end_with_accounts

PORT, FRONT_PORT = 9469, 9470
HOSTNAMES = {"vm1": "web1", "vm2": "db1"}
HOSTILE = "<img src=x onerror=document.title='owned'>"
FLOWS, HTTPS = 8, 443
VIEWS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light"), "phone-dark": (390, "dark")}
PICTURES = os.environ.get("VMNAT_PICTURES")


class PageLab(VethLab):
    def __init__(self, scope):
        super().__init__(scope, ports={"vm1": {"guard": "on"}})
        self.settle()
        threading.Thread(target=self.be_the_outside, daemon=True).start()
        for name, guest in zip(HOSTNAMES, (self.vm1, self.vm2)):
            self.lease(guest, HOSTNAMES[name])
        scope.enter_context(self.gateway_side.entered())
        self.browser = Browser(scope, self.directory, self.gateway_side)
        self.open()

    def configuration(self):
        made = super().configuration()
        made["control"]["metrics"] = f"127.0.0.1:{PORT}"
        made["networks"][0]["dhcp"] = config.dhcp("192.168.122.100", "192.168.122.109", check_before_offer=False, reservations=[
            {"mac": f"52:54:00:aa:00:0{n}", "address": f"192.168.122.{9 + n}"} for n in (1, 2)])
        return made

    def lease(self, guest, hostname):
        """The address that this VM is given; asked for with a hostname as a guest writes it."""
        def exchange(kind, *options):
            guest.wire.send(guest.wire.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                            BOOTP(chaddr=bytes.fromhex(guest.wire.mac.replace(":", "")), xid=7, flags=0x8000) /
                            DHCP(options=[("message-type", kind), ("hostname", hostname), *options, "end"]))
            wanted = {"discover": 2, "request": 5}[kind]
            return guest.expect(lambda f: DHCP in f and ("message-type", wanted) in f[DHCP].options, f"an answer to {kind}")
        offered = exchange("discover")[BOOTP].yiaddr
        exchange("request", ("requested_addr", offered), ("server_id", guest.gateway))
        return offered

    # --- the page -------------------------------------------------------------------------------------------------

    def open(self, port=PORT):
        self.browser.open(f"http://127.0.0.1:{port}/")
        wait_until(lambda: self.browser.text("#state") == "live" and self.vm("vm1"), "the page shows vm1")

    def row(self, table, title, value):
        """The row whose cell of this title begins so; None: there is none."""
        return next((row for row in self.browser.rows(table) if row[title].split(" ")[0] == value), None)

    def vm(self, name):
        return self.row("#vms", "Name", name)

    def awaits(self, condition, what, seconds=30):
        try:
            return wait_until(condition, what, seconds)
        except Exception:
            self.browser.picture(self.directory / "failed.png")
            raise

    # --- traffic --------------------------------------------------------------------------------------------------

    def be_the_outside(self):
        """The router's ARP, and a remote that says everything twice; for as long as the test lives."""
        router = Router(self.wire_side, "isp0", ROUTER_MAC, self.uplink["gateway"])
        while True:
            try:
                frame = router.socket.recv(65536)
            except OSError:  # the wire has gone
                return
            if frame[12:14] == b"\x08\x06" and router.asks_for(Ether(frame), router.address):
                router.answer(Ether(frame))
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == HTTPS.to_bytes(2, "big"):
                # Sender and receiver change places, which leaves the checksums as they are.
                answer = frame[6:12] + frame[:6] + frame[12:26] + frame[30:34] + frame[26:30] + frame[36:38] + frame[34:36] + frame[38:]
                for _ in range(2):
                    router.socket.send(answer)

    def flows(self, guest):
        return [bytes(guest.routed(REMOTE) / UDP(sport=5000 + n, dport=HTTPS) / Raw(b"x" * 1400)) for n in range(FLOWS)]

    @contextlib.contextmanager
    def traffic(self, guest):
        """In the block the VM sends some 2 Mbit/s to a remote in several sessions, and some frames in vm2's name."""
        frames = self.flows(guest)
        spoofed = bytes(guest.wire.to(guest.routed(REMOTE).dst) / IP(src="192.168.122.11", dst=REMOTE) / UDP(sport=1, dport=2))
        is_over = threading.Event()

        def send():
            while not is_over.wait(0.04):
                for frame in (*frames, spoofed):
                    guest.wire.socket.send(frame)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        try:
            yield
        finally:
            is_over.set()
            sender.join()


suite = Suite(PageLab)


def bits(text) -> float:
    """"1.23 Mbit/s 12 k/s" is 1230000.0; "–", no rate yet, is 0."""
    number, *unit = text.split()
    return 0.0 if number == "–" else float(number) * {"bit/s": 1, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}[unit[0]]


class Front:
    """Answers some paths itself, and passes the others on to vmnatd."""

    def __init__(self, scope, namespace, answers):
        """`answers`: path -> what its JSON is made of, given vmnatd's."""
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                with namespace.entered(), contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)) as vmnatd:
                    vmnatd.request("GET", self.path)
                    answer = vmnatd.getresponse()
                    status, headers, content = answer.status, answer.headers, answer.read()
                path = urllib.parse.urlsplit(self.path).path
                if path in answers:
                    status, content = 200, json.dumps(answers[path](json.loads(content))).encode()
                self.send_response(status)
                for name in ("Content-Type", "Content-Security-Policy"):
                    self.send_header(name, headers[name])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", FRONT_PORT), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        scope.callback(self.server.server_close)
        scope.callback(self.server.shutdown)


# --- what is shown ----------------------------------------------------------------------------------------------------

@suite.test("VMs, networks, leases and workers are there, by their names")
def names(lab):
    lab.awaits(lambda: HOSTNAMES["vm2"] in (lab.vm("vm2") or {}).get("Name", ""), "the hostname of vm2")
    for port in lab.vmnatd.ctl("ports")[1:]:
        shown = lab.vm(port["name"])
        check_equal((shown["Network"], shown["MAC"]), (port["network"], port["mac"]), f"network and MAC of {port['name']}")
        check(shown["Link"].startswith(port["link"]), shown)
    check_equal(lab.vm("vm1")["Name"], "vm1 web1", "name and hostname")
    check_equal(lab.vm("vm1")["Address"], "192.168.122.10", "the address of vm1")
    check_equal([row["Name"] for row in lab.browser.rows("#networks")], ["default", "lab", "alone"], "networks")
    check_equal(lab.row("#networks", "Name", "alone")["Leads"], "nowhere", "where the network without forward leads")
    check_equal({row["Hostname"]: row["Address"] for row in lab.browser.rows("#leases")},
                {"web1": "192.168.122.10", "db1": "192.168.122.11"}, "leases")
    worker, = lab.browser.rows("#workers")
    check(worker["Load"].strip().endswith("%"), worker)
    check(lab.vmnatd.ctl("status")["version"] in lab.browser.text("#daemon"), "the version")
    check_equal(lab.browser.text("#total-vms small"), "4 up", "VMs that are up")


@suite.test("the rate of a VM rises when it sends, and falls when it stops; drops show their reason when asked for")
def rates(lab):
    lab.awaits(lambda: lab.vm("vm1")["Out"] != "–" and bits(lab.vm("vm1")["Out"]) < 1e5, "vm1 is silent")
    with lab.traffic(lab.vm1):
        lab.awaits(lambda: 1e6 < bits(lab.vm("vm1")["Out"]) < 1e7, "vm1 sends megabits")
        check(bits(lab.vm("vm2")["Out"]) < 1e5, "vm2 is silent")
        lab.awaits(lambda: bits(lab.vm("vm1")["In"]) > 2e6, "and is answered")
        lab.awaits(lambda: bits(lab.browser.text("#total-out")) > 1e6, "so do all VMs together")
        lab.awaits(lambda: bits(lab.row("#networks", "Name", "default")["Out"]) > 1e6, "and its network")
        check(lab.browser.run("return document.querySelector('#chart-out').getAttribute('d')").startswith("M"), "the curve")
        details = "#vms tbody tr:first-child details"
        lab.awaits(lambda: "spoofed_address" in lab.browser.text(details), "the reason of the drops")
        check(not lab.browser.is_shown(f"{details} ul"), "reasons are shown unasked")
        lab.browser.find(f"{details} summary").click()
        lab.awaits(lambda: lab.browser.is_shown(f"{details} ul"), "the reasons are shown")
        before = lab.browser.text(details)
        lab.awaits(lambda: lab.browser.text(details) != before and lab.browser.is_shown(f"{details} ul"), "they stay, and count on")
        lab.awaits(lambda: "spoofed_address" in lab.browser.text("#reasons"), "the reason among those of all ports")
    lab.awaits(lambda: bits(lab.vm("vm1")["Out"]) < 1e5, "vm1 is silent again")
    lab.browser.find(f"{details} summary").click()


@suite.test("sessions are found by address, endpoint, VM, hostname, network, protocol and state; what stands for nothing is told")
def search(lab):
    def found(words):
        """How many the page says, once it shows as many rows."""
        lab.browser.type("#words", words)
        lab.awaits(lambda: lab.browser.run("return document.querySelector('#sessions-note').dataset.words") == words, f"an answer to {words!r}")
        rows = lab.browser.rows("#sessions")
        check_equal(lab.browser.text("#sessions-note"), f"{len(rows)} session{'s' if len(rows) != 1 else ''} found", "the note")
        return rows
    for frame in lab.flows(lab.vm1):
        lab.vm1.wire.socket.send(frame)
    lab.vm2.wire.send(lab.vm2.routed("198.51.100.9") / UDP(sport=6001, dport=5353))
    lab.vm3.wire.send(lab.vm3.routed("198.51.100.9") / UDP(sport=6002, dport=53))
    wait_until(lambda: len(lab.vmnatd.sessions()) >= FLOWS + 2, "the sessions")
    remote, = found("198.51.100.9:5353")
    check_equal((remote["VM"], remote["Internal"], remote["Remote"]), ("vm2 default", "192.168.122.11:6001", "198.51.100.9:5353"),
                "the session")
    check_equal(len(found("198.51.100.9")), 2, "sessions with a remote")
    check_equal([row["VM"] for row in found("lab 198.51.100.9")], ["vm3 lab"], "of a network")
    check_equal(len(found(f"192.168.122.10 {REMOTE}:443")), FLOWS, "sessions of vm1's traffic, by its address")
    check_equal({row["VM"] for row in found("db1")}, {"vm2 default"}, "those of a hostname")
    check_equal([row["External"] for row in found(f"vm2 {remote['External']}")], [remote["External"]], "by external endpoint")
    check_equal(found("vm1 tcp"), [], "TCP of vm1")
    check(len(found("udp open vm1")) >= FLOWS, "UDP of vm1")
    for words, complaint in (("nobody", "“nobody” is no address, VM, network, protocol or state"),
                             ("vm1 vm2", "“vm1” and “vm2”: a session has one port"), ("198.51.100.9:99999", "must be an address")):
        lab.browser.type("#words", words)
        lab.awaits(lambda: complaint in lab.browser.text("#sessions-note"), complaint)
    lab.browser.type("#words", "")
    lab.awaits(lambda: lab.browser.text("#sessions-note") == "", "no search")


# --- how it looks -----------------------------------------------------------------------------------------------------

def check_fits(browser, view):
    wide = browser.run("""
        const page = document.documentElement;
        return page.scrollWidth <= page.clientWidth ? [] : [...document.querySelectorAll('body *')]
            .filter(each => each.getBoundingClientRect().right > page.clientWidth).map(each => each.outerHTML.slice(0, 120))""")
    check_equal(wide, [], f"what is wider than the screen, {view}")


def contrast(browser, selector) -> float:
    """Of a text and its ground, as WCAG 2 has it."""
    return browser.run("""
        const node = document.querySelector(arguments[0]), section = document.querySelector('section:not([hidden])');
        const light = color => color.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
            .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
            .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], 0);
        const [a, b] = [getComputedStyle(node).color, getComputedStyle(section).backgroundColor].map(light);
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05)""", selector)


@suite.test("light, dark and as wide as a phone it is read without scrolling sideways, with enough contrast")
def views(lab):
    grounds = {}
    with lab.traffic(lab.vm1):
        lab.awaits(lambda: bits(lab.vm("vm1")["In"]) > 2e6, "vm1 sends, and is answered")
        for view, (width, scheme) in VIEWS.items():
            lab.browser.view(width, scheme)
            check_fits(lab.browser, view)
            for selector in ("h2", "h2 small", "td.name", "td small", ".up", ".in", ".out", "#state"):
                check(contrast(lab.browser, selector) >= 4.5, f"{selector}, {view}: a contrast of {contrast(lab.browser, selector):.1f}")
            grounds[view] = lab.browser.run("return getComputedStyle(document.querySelector('section:not([hidden])')).backgroundColor")
            check(lab.browser.is_shown("#vms tbody td"), f"VMs, {view}")
            lab.browser.picture(pathlib.Path(PICTURES or lab.directory) / f"{view}.png")
        lab.browser.view(*VIEWS["light"])
    check(grounds["light"] == grounds["phone"] != grounds["dark"] == grounds["phone-dark"], f"grounds: {grounds}")


@suite.test("columns have headers, fields labels, tables their roles, also where a narrow screen makes blocks of them")
def accessible(lab):
    for view in VIEWS:
        lab.browser.view(*VIEWS[view])
        bare = lab.browser.run("""
            const named = node => node.labels?.length || node.ariaLabel || node.getAttribute('aria-labelledby') || node.getAttribute('aria-label');
            return [...document.querySelectorAll('input, meter, svg, section:not(#notes), .long')].filter(node => !named(node)).map(node => node.outerHTML)""")
        check_equal(bare, [], "what has no name")
        check_equal(lab.browser.find("#vms").aria_role, "table", f"the role of a table, {view}")
        check_equal(lab.browser.find("#vms tbody td").aria_role, "cell", f"the role of a cell, {view}")
        check_equal(lab.browser.run("return document.querySelectorAll('th:not([scope=col])').length"), 0, "headers without scope")
    lab.browser.view(*VIEWS["light"])


# --- bounds, and who may make it do what ------------------------------------------------------------------------------

@suite.test("of 300 sessions 200 are shown, and how many are not; never is more asked for")
def many_sessions(lab):
    for port in range(10_000, 10_300):
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=port, dport=9))
    wait_until(lambda: len(lab.vmnatd.sessions("--port", "vm1")) >= 300, "300 sessions")
    for words in ("", f"vm1 {REMOTE}:9"):
        lab.browser.type("#words", words)
        count = 300 if words else lab.vmnatd.counters()["sessions.active"]
        lab.awaits(lambda: lab.browser.text("#sessions-note") == f"200 shown; there are {count - 200} more", f"what is not shown, of {count}")
        check_equal(len(lab.browser.rows("#sessions")), 200, "rows")
    lab.browser.type("#words", "")
    lab.browser.collect()
    asked = [urllib.parse.urlsplit(url) for url in lab.browser.asked]
    unbounded = [url.query for url in asked if url.path == "/api/sessions" and not {"limit=200", "count=true"} & set(url.query.split("&"))]
    check_equal(unbounded, [], "questions for all sessions")


@suite.test("what guests and others say is text, whatever it is; findings of doctor are shown where there are some")
def hostile(lab):
    lab.lease(lab.vm2, HOSTILE)  # vmnatd takes no such name; the page does not rely on it
    findings = [{"id": "x", "severity": "error", "object": "port vm7", "seen": f"nobody listens {HOSTILE}", "means": "no network",
                 "mend": "start the VM"},
                {"id": "y", "severity": "note", "object": "memory", "seen": "pages are small", "means": "slower", "mend": "reserve pages"}]

    def renamed(elements, **keys):
        return [element | {key: HOSTILE for key in keys.values() if key in element} for element in elements]
    with contextlib.ExitStack() as scope:
        Front(scope, lab.gateway_side, {
            "/api/doctor": lambda _: findings,
            "/api/leases": lambda leases: renamed(leases, a="hostname", b="client_id"),
            "/api/networks": lambda networks: [network | {"external": [HOSTILE]} for network in networks],
            "/api/sessions": lambda sessions: renamed(sessions, a="remote", b="state") if isinstance(sessions, list) else sessions,
            "/api/status": lambda status: status | {"notes": [HOSTILE]}})
        lab.open(FRONT_PORT)
        for place in ("#vms", "#leases", "#networks", "#sessions", "#notes", "#findings"):
            lab.awaits(lambda where=place: HOSTILE in lab.browser.text(where), f"the text in {place}")
        check_equal(lab.browser.run("return document.querySelectorAll('img, script:not([src]), [onerror]').length"), 0, "elements made of it")
        check_equal(lab.browser.run("return document.title"), "vmnat", "the title")
        check_equal(lab.browser.text("#findings h2"), "Findings 2", "the number of findings")
        shown = lab.browser.run("return [...document.querySelectorAll('#findings li')].map(item => [item.className, item.textContent])")
        check_equal(shown, [["error", f"error port vm7: nobody listens {HOSTILE}no networkstart the VM"],
                            ["", "note memory: pages are smallslowerreserve pages"]], "findings")
        check(lab.browser.is_shown("#findings"), "the findings")
        for view, (width, scheme) in VIEWS.items():
            lab.browser.view(width, scheme)
            check_fits(lab.browser, view)
        lab.browser.view(*VIEWS["light"])
        lab.browser.open("about:blank")
    lab.open()


@suite.test("the policy of the page keeps scripts, markup and other hosts out, whoever asks for them")
def policy(lab):
    check_equal(lab.browser.run("""
        const script = document.createElement('script');
        try { script.textContent = "document.title = 'owned'"; document.body.append(script); } catch { return 'refused'; }
        return document.title"""), "refused", "a script of its own")
    check_equal(lab.browser.run(f"try {{ document.body.innerHTML = {json.dumps(HOSTILE)} }} catch {{ return 'refused' }}"), "refused", "markup")
    check_equal(lab.browser.run("return fetch('http://127.0.0.1:1/').catch(problem => problem.name)"), "TypeError", "another host")
    check_equal(lab.browser.run("return document.cookie"), "", "cookies")
    lab.browser.collect()
    lab.browser.complaints.clear()  # those were asked for
    lab.open()


# --- vmnatd goes and comes --------------------------------------------------------------------------------------------

def watch_rates(lab, number=100):
    """All rates of VMs that are shown for a while, until this many were seen of each; none is negative or wild."""
    seen = []

    def has_seen():
        seen.extend(bits(row[way]) for row in lab.browser.rows("#vms") for way in ("Out", "In"))
        return len(seen) > 8 * number
    lab.awaits(has_seen, "rates")
    check(0 <= min(seen) and max(seen) < 1e8, f"rates from {min(seen)} to {max(seen)} bit/s")


@suite.test("while vmnatd is away the page says so and keeps what it has; when it is back the page goes on")
def away(lab):
    lab.browser.collect()
    check_equal(complaints(lab), [], "complaints before")
    lab.browser.run("window.isTheSamePage = true")
    lab.vmnatd.kill()
    lab.awaits(lambda: "does not answer since" in lab.browser.text("#silence") and lab.browser.is_shown("#silence"), "it says so")
    check_equal(lab.browser.text("#state"), "no answer", "the state")
    check_equal(lab.vm("vm1")["Name"], "vm1 web1", "what it has shown before")
    lab.vmnatd.start()
    lab.awaits(lambda: lab.browser.text("#state") == "live" and not lab.browser.is_shown("#silence"), "it goes on")
    watch_rates(lab)
    with lab.traffic(lab.vm1):
        lab.awaits(lambda: bits(lab.vm("vm1")["Out"]) > 1e6, "vm1 sends, and is seen")
        watch_rates(lab)
    check_equal(lab.browser.run("return window.isTheSamePage"), True, "the page was not loaded again")
    lab.browser.collect()
    lab.browser.complaints = [entry for entry in lab.browser.complaints if "net::ERR_" not in entry["message"]]


@suite.test("counts that go back, and those of a daemon that started anew, make no negative and no wild rate")
def counts_go_back(lab):
    excess, lost_seconds = 10 ** 12, 0

    def port_with(port):
        return port | {name: port[name] + excess for name in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")}
    with contextlib.ExitStack() as scope:
        Front(scope, lab.gateway_side, {
            "/api/ports": lambda ports: [port_with(port) for port in ports],
            "/api/status": lambda status: status | {"uptime_s": status["uptime_s"] - lost_seconds}})
        lab.open(FRONT_PORT)
        watch_rates(lab)
        excess = 0  # the counts go back
        watch_rates(lab)
        excess, lost_seconds = 10 ** 12, 20  # another daemon goes on where a former one had been
        watch_rates(lab)
        lab.browser.open("about:blank")
    lab.open()


def complaints(lab):
    """What the browser said, but that a vmnatd without doctor has answered so."""
    lacks_doctor = status_of("/api/doctor") == 404
    return [entry["message"] for entry in lab.browser.complaints if not (lacks_doctor and "/api/doctor" in entry["message"])]


def status_of(path) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)) as vmnatd:
        vmnatd.request("GET", path)
        return vmnatd.getresponse().status


@suite.test("the page has asked nobody but vmnatd, and the browser has had nothing to complain of")
def quiet(lab):
    lab.browser.collect()
    others = {url for url in lab.browser.asked if not url.startswith((f"http://127.0.0.1:{PORT}/", f"http://127.0.0.1:{FRONT_PORT}/", "data:", "about:"))}
    check_equal(others - {"http://127.0.0.1:1/"}, set(), "addresses that were asked")
    check(len(lab.browser.asked) > 100, f"only {len(lab.browser.asked)} questions were seen")
    check_equal(complaints(lab), [], "complaints of the browser")
    check_equal(lab.browser.is_shown("#findings"), status_of("/api/doctor") != 404, "findings are shown where the command is")


end_with_accounts(suite)
suite.main()
