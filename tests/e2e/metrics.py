#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Metrics and HTTP as others see them: curl by TCP and by the admin socket, promtool, Prometheus' Python client, and
whoever means ill. The wires are those of veth_lab.py."""

import contextlib
import json
import re
import resource
import shutil
import socket
import subprocess
import time

from harness import config, processes
from harness.daemon import ROOT, Vmnatd, program, runtime_directory
from harness.namespace import Namespace
from harness.tap import Skipped, Suite, check, check_equal, comment, for_one_subtest, scratch_directory
from harness.waiting import wait_until
from harness.wire import TCP, UDP
from veth_lab import REMOTE, VethLab, end_with_accounts

try:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
    from prometheus_client.parser import text_string_to_metric_families as parse_text
except ImportError:
    parse_openmetrics = parse_text = None

PORT = 9469
MANY = 1000
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
LOOKING = ["status", "ports", "networks", "leases", "sessions", "counters", "workers", "neighbors", "forwards",
           "exhaustion", "config"]
CHANGING = ["reload", "flush", "port-add", "port-del", "network-add", "network-del", "forward-add", "forward-del",
            "pool-add", "pool-drain", "pool-del", "lease-release", "reserve-add", "reserve-del", "invariants"]


class MetricsLab(VethLab):
    def configuration(self):
        made = super().configuration()
        made["control"]["metrics"] = f"127.0.0.1:{PORT}"
        made["dataplane"]["eal"].append("--telemetry")
        made["networks"][0]["dhcp"] = config.dhcp("192.168.122.100", "192.168.122.109")
        return made

    def curl(self, target, *options, port=PORT, check=True):
        return processes.run(["curl", "--silent", "--show-error", "--max-time", 20, *options, f"http://127.0.0.1:{port}{target}"],
                             namespace=self.gateway_side, check=check)

    def curl_unix(self, target, *options):
        return processes.run(["curl", "--silent", "--show-error", "--max-time", 20, "--unix-socket",
                              self.vmnatd.config["control"]["socket"], *options, f"http://localhost{target}"])

    def code(self, target, *options):
        return self.curl(target, "--output", "/dev/null", "--write-out", "%{http_code}", *options).stdout

    def connect(self, port=PORT):
        with self.gateway_side.entered():
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        return connection

    def answer_to(self, request):
        """All that comes back for these bytes, until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            pieces = []
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    pieces.append(piece)
            return b"".join(pieces)

    def scrape(self):
        """(name, labels as a sorted tuple) -> value"""
        return samples_of(self.curl("/metrics").stdout)

    def still_answers(self):
        begin = time.monotonic()
        check_equal(self.code("/metrics"), "200", "the code of /metrics")
        return time.monotonic() - begin


def make_lab(scope):
    if parse_text is None:
        raise Skipped("needs python3-prometheus-client")
    return MetricsLab(scope)


suite = Suite(make_lab)


def samples_of(text):
    samples = {}
    for family in parse_text(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            check(key not in samples, f"{key} comes twice")
            samples[key] = sample.value
    return samples


def promtool(*arguments, text=None):
    if shutil.which("promtool") is None:
        raise Skipped("needs promtool, of the package prometheus")
    return subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60)


def families_of(text):
    return {match[1]: match[2] for match in re.finditer(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)}


def rows_of_page():
    """From docs/metrics.md: metric -> (type, counter)"""
    rows = re.findall(r"^\| `(vmnat_\w+)`[^|]*\| (\w+) \| `?([\w.*]*)`? \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name: (kind, counter) for name, kind, counter in rows}


@suite.test("promtool finds nothing wrong with the text, which is the same by TCP and by the admin socket")
def text_format(lab):
    lab.settle_once()
    text = lab.curl("/metrics").stdout
    over_socket = lab.curl_unix("/metrics").stdout
    check_equal(families_of(text), families_of(over_socket), "the families by either way")
    checked = promtool("check", "metrics", text=text)
    check_equal((checked.returncode, checked.stdout + checked.stderr), (0, ""), "promtool check metrics")


@suite.test("whoever asks for OpenMetrics gets it, as Prometheus' own parser reads it")
def openmetrics(lab):
    answer = lab.curl("/metrics", "--header", f"Accept: {OPEN_METRICS}", "--include").stdout
    check("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\n" in answer, answer[:500])
    body = answer.split("\n\n", 1)[1]
    families = {family.name: family for family in parse_openmetrics(body)}
    check_equal(families["vmnat_drop"].type, "counter", "type of vmnat_drop")
    check_equal(families["vmnat_build"].type, "info", "type of vmnat_build")
    check(families["vmnat_drop"].documentation.startswith("Frames dropped"), families["vmnat_drop"].documentation)


@suite.test("docs/metrics.md names each metric that there is, with its type, and no other")
def page(lab):
    shown = families_of(lab.curl("/metrics").stdout)
    rows = rows_of_page()
    check_equal(set(shown) - set(rows), set(), "metrics without a row")
    missing = {name for name in set(rows) - set(shown) if not name.startswith("vmnat_uplink_dhcp_")}
    check_equal(missing, set(), "rows without a metric")
    for name, kind in shown.items():
        check_equal(kind, rows[name][0].replace("info", "gauge"), f"the type of {name}")


@suite.test("every counter of vmnatctl is a metric with the same value, or the sum of one")
def counters(lab):
    rows = rows_of_page()
    sums = dict(re.findall(r" `([\w.]+)` of `(vmnat_\w+)`", (ROOT / "docs/metrics.md").read_text()))

    def value_of(counter, scraped):
        if counter in sums:
            return sum(value for (name, _), value in scraped.items() if name == sums[counter])
        for name, (_, pattern) in rows.items():
            if pattern == counter:
                return scraped.get((name, ()))
            if pattern.endswith(".*") and counter.startswith(pattern[:-1]):
                values = [value for (sample, labels), value in scraped.items()
                          if sample == name and labels and labels[0][1] == counter[len(pattern) - 1:]]
                return values[0] if values else None
        return None

    def differences():
        before, scraped, after = lab.vmnatd.counters(), lab.scrape(), lab.vmnatd.counters()
        return {name: (value, value_of(name, scraped)) for name, value in before.items()
                if value_of(name, scraped) is None or (value == after[name] and value_of(name, scraped) != value)}
    wait_until(lambda: not differences(), f"counters and metrics agree, not: {differences()}")


@suite.test("frames that are dropped show under their reason, and with the port that they came from")
def drop_reasons(lab):
    lab.settle_once()
    before = lab.scrape()
    for number in range(7):
        lab.router.send(lab.inbound(TCP(sport=80, dport=40000 + number, flags="A")))
    lab.vm1.wire.send(lab.vm1.routed("127.0.0.1") / UDP(sport=1, dport=2))

    def grown(name, **labels):
        key = (name, tuple(sorted(labels.items())))
        return lab.scrape().get(key, 0) - before.get(key, 0)
    wait_until(lambda: grown("vmnat_drop_total", reason="no_session") == 7, "7 drops for want of a session")
    check_equal(grown("vmnat_port_drops_total", network="uplink", port="uplink", reason="no_session"), 7, "of the uplink")
    wait_until(lambda: grown("vmnat_port_drops_total", network="default", port="vm1", reason="destination_invalid") == 1,
               "a drop of vm1's")


@suite.test("ports, networks, sessions, external ports and workers show what vmnatctl shows")
def labelled(lab):
    lab.settle_once()
    for number in range(5):
        lab.open_udp(lab.vm1, 5000 + number, b"question %d" % number)

    def are_counted():
        counted = sum(value for (name, _), value in lab.scrape().items() if name == "vmnat_sessions")
        return counted == len(lab.vmnatd.sessions())
    wait_until(are_counted, "all sessions are counted")  # a count is good for 5 s
    scraped = lab.scrape()

    def one(name, **labels):
        return scraped.get((name, tuple(sorted(labels.items()))))
    sessions = lab.vmnatd.sessions()
    for network, protocol, state in {(s["network"], s["protocol"], s["state"]) for s in sessions}:
        number = sum((s["network"], s["protocol"], s["state"]) == (network, protocol, state) for s in sessions)
        check_equal(one("vmnat_sessions", network=network, protocol=protocol, state=state), number,
                    f"sessions of {network}, {protocol}, {state}")
    external = {s["external"] for s in sessions if s["protocol"] == "udp"}
    check_equal(one("vmnat_external_ports_used", address=config.UPLINK_ADDRESS, protocol="udp"), len(external), "UDP ports in use")
    check_equal(one("vmnat_external_ports", address=config.UPLINK_ADDRESS), 64512, "ports that may be given out")
    check_equal(one("vmnat_external_sessions", address=config.UPLINK_ADDRESS), len(sessions), "sessions by address")
    by_remote = [sum(s["remote"] == remote and s["protocol"] == "udp" for s in sessions) for remote in {s["remote"] for s in sessions}]
    check_equal(one("vmnat_external_remote_sessions_max", address=config.UPLINK_ADDRESS), max(by_remote), "most with one remote")
    for port in lab.vmnatd.ctl("ports"):
        labels = {"network": port["network"], "port": port["name"]}
        check_equal(one("vmnat_port_up", **labels), port["link"] == "up", f"{labels} is up")
        check(one("vmnat_port_received_frames_total", **labels) <= port["rx_packets"], f"frames of {labels}")
        check(one("vmnat_port_info", kind="kernel", **labels) == 1, f"kind of {labels}")
    check_equal(one("vmnat_dhcp_pool_addresses", network="default"), 10, "addresses of the pool")
    check_equal(one("vmnat_network_ports", network="default"), 2, "ports of default")
    check(one("vmnat_worker_busy_seconds_total", worker="0") > 0, "the worker has been busy")
    check(one("vmnat_worker_awake_seconds_total", worker="0") >= one("vmnat_worker_busy_seconds_total", worker="0"), "awake")
    check(abs(one("vmnat_start_time_seconds") + lab.vmnatd.ctl("status")["uptime_s"] - time.time()) < 5, "start")


@suite.test("each metric that the dashboard and the alerts ask for is there")
def dashboard(lab):
    shown = set(families_of(lab.curl("/metrics").stdout))
    monitoring = ROOT / "configs/monitoring"
    for name in ("grafana-dashboard.json", "vmnat.rules.yaml"):
        asked = set(re.findall(r"\bvmnat_[a-z0-9_]+", (monitoring / name).read_text()))
        check(len(asked) > 10, asked)
        check_equal(asked - shown, set(), f"what {name} asks for and is not there")


@suite.test("/api gives what vmnatctl --json gives, by either way, for each command that looks")
def api(lab):
    for command in LOOKING:
        expected = lab.vmnatd.ctl(command)
        for answer in (lab.curl(f"/api/{command}").stdout, lab.curl_unix(f"/api/{command}").stdout):
            given = json.loads(answer)
            check_equal(type(given), type(expected), f"the kind of /api/{command}")
            if isinstance(given, dict):
                check_equal(given.keys(), expected.keys(), f"keys of /api/{command}")
            else:
                check_equal([sorted(element) for element in given], [sorted(element) for element in expected],
                            f"keys of /api/{command}")
    check_equal(json.loads(lab.curl("/api/networks").stdout), lab.vmnatd.ctl("networks"), "/api/networks")
    filters = lab.curl("/api/sessions?network=default&protocol=udp&limit=2").stdout
    check_equal(len(json.loads(filters)), 2, "sessions by filter")
    check_equal(json.loads(lab.curl("/api/sessions?count").stdout).keys(), {"count"}, "keys of a count")
    check("there is no network" in lab.curl("/api/sessions?network=nowhere").stdout, "an unknown network")


@suite.test("over TCP nothing can be changed; over the admin socket root may, by POST")
def changes(lab):
    before = lab.vmnatd.ctl("config")
    for command in CHANGING:
        for options in ((), ("--request", "POST", "--data", "{}"), ("--request", "PUT")):
            check_equal(lab.code(f"/api/{command}", *options), "403", f"{command} with {options}")
    check_equal(lab.vmnatd.ctl("config"), before, "the configuration")
    answer = lab.curl_unix("/api/flush", "--data", '{"port": "vm3"}').stdout
    check_equal(json.loads(answer).keys(), {"flushed"}, answer)
    check_equal(lab.curl_unix("/api/flush", "--output", "/dev/null", "--write-out", "%{http_code}").stdout, "405", "GET of a change")
    check_equal(json.loads(lab.curl_unix("/api/flush", "--data", "{}").stdout)["ok"], False, "a flush of everything, without all")
    check_equal(len(lab.vmnatd.ctl("networks")), 3, "the admin protocol goes on beside it")


@suite.test("DPDK's telemetry has counters, ports and workers under /vmnat")
def telemetry(lab):
    path, = lab.directory.rglob("dpdk_telemetry.v2")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(20)
        asking.connect(str(path))
        asking.recv(16384)

        def ask(command):
            asking.send(command.encode())
            return json.loads(asking.recv(65536))[command.split(",")[0]]

        def as_counters():
            return {name.replace("/", "."): value for name, value in ask("/vmnat/counters").items()}
        wait_until(lambda: as_counters().get("drop.no_session") == lab.vmnatd.counters()["drop.no_session"], "counters by telemetry")
        check_equal(as_counters().keys(), lab.vmnatd.counters().keys(), "the names of counters")
        check_equal(ask("/vmnat/ports"), sorted(port["name"] for port in lab.vmnatd.ctl("ports")), "ports")
        check(ask("/vmnat/ports,vm1")["rx_packets"] > 0, "frames of vm1")
        check_equal(ask("/vmnat/ports,nobody"), None, "a port that is not there")
        check_equal(ask("/vmnat/workers"), ["0"], "workers")
        check(ask("/vmnat/workers,0")["polls"] > 0, "polls of the worker")


@suite.test("the token of control.token_file lets its bearer change things over TCP; a short or open one keeps vmnatd from starting")
def token(lab):
    path = lab.directory / "token"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o640)
    directory = lab.directory / "second"
    made = config.configuration(directory, "net_null0,no-rx=1", [config.network("alone", "192.168.9.1/24", [], forward="none")])
    made["control"] |= {"metrics": f"127.0.0.1:{PORT + 7}", "token_file": str(path)}
    with Vmnatd(directory, made, namespace=lab.gateway_side):
        def flush(bearer):
            return lab.curl("/api/flush", "--header", f"Authorization: Bearer {bearer}", "--data", '{"all": true}', "--output", "/dev/null",
                            "--write-out", "%{http_code}", port=PORT + 7).stdout
        check_equal([flush("0123456789abcdef"), flush("0123456789abcdeX"), flush("")], ["200", "403", "403"], "codes")
    for mode, content, why in [(0o644, "0123456789abcdef\n", "others may have access to it"), (0o600, "short\n", "no token of 16")]:
        path.chmod(mode)
        path.write_text(content)
        started = processes.run([program("vmnatd"), "--config", directory / "vmnat.yaml"], namespace=lab.gateway_side, check=False,
                                environment=runtime_directory(directory))
        check_equal(started.returncode, 2, f"exit code, with {started.stderr}")
        check(why in started.stderr, started.stderr)


@suite.test("HEAD, unknown paths, methods and the page are answered as HTTP has it")
def http(lab):
    head = lab.curl("/metrics", "--head").stdout
    check(head.startswith("HTTP/1.1 200 OK") and "Content-Type: text/plain; version=0.0.4" in head, head)
    check("access-control" not in head.lower(), head)
    for target, options, code in [("/nothing", (), "404"), ("/metrics", ("--request", "DELETE"), "405"),
                                  ("/api/nothing", (), "404"), ("/api/status?x=1", (), "400"), ("/%zz", (), "400"),
                                  ("/", (), "200")]:
        check_equal(lab.code(target, *options), code, f"code of {target} {options}")
    check("<title>vmnat</title>" in lab.curl("/").stdout, "the page")


@suite.test("what no client should send is refused: garbage, 10 000 bytes of head, a foreign name that was led here")
def ill_formed(lab):
    for request, code in [(b"\x16\x03\x01\x00\x00garbage\r\n\r\n", b"400"), (b"GET\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\n\r\n", b"400"),
                          (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", b"431"),
                          (b"POST /api/flush HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n", b"413")]:
        answer = lab.answer_to(request)
        check(answer.startswith(b"HTTP/1.1 " + code), f"{request[:60]}: {answer[:200]}")
    for host in ("evil.example", f"evil.example:{PORT}", "localhost.evil.example", "192.0.2.1"):
        check_equal(lab.code("/api/status", "--header", f"Host: {host}"), "421", f"Host: {host}")
    for host in ("localhost", f"localhost:{PORT}", "127.0.0.1"):
        check_equal(lab.code("/api/status", "--header", f"Host: {host}"), "200", f"Host: {host}")
    lab.still_answers()


@suite.test("200 connections, idle or with half a request, keep nobody out, and cost no descriptors for long")
def crowd(lab):
    with contextlib.ExitStack() as scope:
        crowd = [scope.enter_context(lab.connect()) for _ in range(200)]
        for number, connection in enumerate(crowd):
            with contextlib.suppress(OSError):
                connection.sendall((b"", b"GET /metrics HTTP/1.1\r\nX-a: ", b"G")[number % 3])
        took = lab.still_answers()
        check(took < 10, f"an answer beside 200 connections took {took:.1f} s")
        check(lab.scrape()[("vmnat_http_connections", ())] <= 33, "connections that are kept")
        lab.vmnatd.ctl("status")
    wait_until(lambda: lab.scrape()[("vmnat_http_connections", ())] <= 2, "the connections are gone")


@suite.test("clients that send their request a byte a time are ended, and whoever does not read holds nothing up")
def slow(lab):
    began = time.monotonic()
    with lab.connect() as slowloris, contextlib.suppress(OSError):
        slowloris.settimeout(1)
        slowloris.sendall(b"GET /metrics HTTP/1.1\r\n")
        while time.monotonic() - began < 60:
            slowloris.sendall(b"X: y\r\n")
            with contextlib.suppress(TimeoutError):
                if not slowloris.recv(1000):
                    break
    check(time.monotonic() - began < 40, "a request that does not end was borne for more than 40 s")
    with contextlib.ExitStack() as scope:
        for _ in range(20):
            deaf = scope.enter_context(lab.connect())
            deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        lab.still_answers()
        lab.vmnatd.ctl("ports")


@suite.test("a reload moves it to another port, switches it off and on; a port that is in use is refused")
def reload(lab):
    def reload_with(metrics):
        lab.vmnatd.config["control"]["metrics"] = metrics
        lab.vmnatd.write_config()
        return processes.run([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "reload"], check=False)
    try:
        check_equal(reload_with(f"127.0.0.1:{PORT + 1}").returncode, 0, "exit code of the reload")
        check(lab.curl("/metrics", check=False).returncode != 0, "the former port still answers")
        check("vmnat_build_info" in lab.curl("/metrics", port=PORT + 1).stdout, "the new port does not answer")
        check_equal(reload_with(f"0.0.0.0:{PORT + 1}").returncode, 0, "exit code of the reload to all addresses")
        check("vmnat_build_info" in lab.curl("/metrics", port=PORT + 1).stdout, "the new address does not answer")
        check_equal(reload_with("off").returncode, 0, "exit code of the reload to off")
        check(lab.curl("/metrics", port=PORT + 1, check=False).returncode != 0, "it answers though it is off")
        check("vmnat_build_info" in lab.curl_unix("/metrics").stdout, "the admin socket answers always")
        with lab.gateway_side.entered():
            taken = socket.create_server(("127.0.0.1", PORT))
        with taken:
            refused = reload_with(f"127.0.0.1:{PORT}")
            check_equal(refused.returncode, 1, "exit code of the reload to a port in use")
            check(f"control.metrics: 127.0.0.1:{PORT} cannot be listened on: Address already in use" in refused.stderr, refused.stderr)
            other = lab.configuration()
            other["control"]["socket"] = str(lab.directory / "other.sock")
            other["networks"] = [config.network("alone", "192.168.9.1/24", [], forward="none")]
            other["uplink"]["device"] = "net_null0"
            path = lab.directory / "other.yaml"
            path.write_text(json.dumps(other))
            started = processes.run([program("vmnatd"), "--config", path], namespace=lab.gateway_side, check=False,
                                    environment=runtime_directory(lab.directory))
            check_equal(started.returncode, 2, f"exit code of a start, with {started.stderr}")
            check(f"127.0.0.1:{PORT} cannot be listened on: Address already in use" in started.stderr, started.stderr)
    finally:
        check_equal(reload_with(f"127.0.0.1:{PORT}").returncode, 0, "exit code of the last reload")
    scraped = lab.scrape()
    check_equal(scraped[("vmnat_last_reload_successful", ())], 1, "the last reload")
    check(scraped[("vmnat_reloads_total", (("result", "refused"),))] >= 1, "reloads that were refused")
    check(scraped[("vmnat_reloads_total", (("result", "applied"),))] >= 4, "reloads that were applied")


def many_ports(scope):
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    hard_limit = "unlimited" if hard_limit == resource.RLIM_INFINITY else hard_limit
    directory = scratch_directory(scope)
    ports = [config.vhost_user_port(f"vm{number}", directory / f"{number}.sock", "server") for number in range(MANY)]
    quiet = "net_null0,no-rx=1"  # else frames come without end
    made = config.configuration(directory, quiet, [config.network("large", "10.1.0.1/16", ports)])
    made["control"]["metrics"] = f"127.0.0.1:{PORT}"
    namespace = scope.enter_context(Namespace("many"))
    lab = type("Many", (), {"namespace": namespace})()
    lab.vmnatd = scope.enter_context(Vmnatd(directory, made, namespace=namespace, ready_seconds=120,
                                            wrapper=("prlimit", f"--nofile={hard_limit}")))
    lab.evidence = lab.vmnatd.evidence
    return lab


@suite.test(f"{MANY} ports are scraped whole; what a scrape takes of control's time is printed")
def thousand_ports(lab):
    with for_one_subtest(many_ports) as many:
        def scrape():
            return samples_of(processes.run(["curl", "--silent", "--show-error", f"http://127.0.0.1:{PORT}/metrics"],
                                            namespace=many.namespace).stdout)
        first = scrape()
        check_equal(sum(name == "vmnat_port_up" for name, _ in first), MANY + 1, "ports")
        # Each scrape tells what all before it took.
        seconds = [scrape()[("vmnat_http_seconds_total", ())] for _ in range(21)]
        took = sorted(1000 * (after - before) for before, after in zip(seconds, seconds[1:]))
        comment(f"{len(first)} samples; of 20 scrapes the median took {took[10]:.2f} ms of control's time, the longest {took[-1]:.2f} ms")
        check_equal(set(name for name, _ in first), set(name for name, _ in scrape()), "metrics")


end_with_accounts(suite)
suite.main()
