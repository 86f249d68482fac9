# SPDX-License-Identifier: Apache-2.0
"""How long a restart keeps a VM waiting: `./run bench --restart`.

For each number of sessions, vmnat-bench opens them, vmnatd is killed, and started again with its sessions: from exec to
its sockets, to "ready", and to the first frame of an old session that leaves by the uplink. The VM and the router are
drivers of the tests' own (tests/e2e/harness/vhost_user.py), which connect as soon as a socket is there, as QEMU does.
"""
import contextlib
import datetime
import json
import socket
import struct
import subprocess
import time
from pathlib import Path
from statistics import median

import machine
from devices import DeviceError, Setting, Vmnatd
from report import show_progress

from harness.vhost_user import VhostUserGuest
from harness.wire import ARP, IP, UDP, Ether

BENCH = Path(__file__).resolve().parents[1]
GENERATOR_MB, DEVICE_MB = 256, 1024
DEFAULT = [0, 10_000, 100_000, 1_000_000]
ROUTER, ROUTER_MAC, VM_MAC = "198.18.0.1", "52:54:00:ff:00:01", "52:54:00:aa:00:01"
MUST, AIM = (500, 150), (200, 100)  # milliseconds, and nanoseconds a session
SECONDS = 30  # for a step, at most
STEPS = ("sockets", "ready", "frame")


class RestartedVmnatd(Vmnatd):
    """The same, without waiting for it."""

    def spawn(self):
        """Starts it anew; the moment of it."""
        for path in self.sockets:
            path.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            begin = time.monotonic()
            self.process = subprocess.Popen(machine.bound_to_parent(self.command()), stdin=subprocess.PIPE, stdout=log,
                                            stderr=log, start_new_session=True, env=self.environment)
        machine.give_priority(self.process.pid)
        return begin

    def kill(self):
        self.process.kill()
        self.process.wait()

    def resident_mb(self):
        """Of its own, and of the session image that it has touched."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return [int(status[name].split()[0]) // 1024 for name in ("RssAnon", "RssShmem")]


def await_moment(happened, what, device):
    """When it did."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        if time.monotonic() > deadline or device.process.poll() is not None:
            raise DeviceError(f"{what} does not come:\n{device.log_tail()}")
        time.sleep(0.0005)
    return time.monotonic()


def open_sessions(arguments, setting, device, number):
    device.start()
    if number == 0:
        return
    result = setting.directory / "result.json"
    command = [str(part) for part in (
        arguments.build / "bench" / "vmnat-bench", "--vm", setting.vm_socket, "--uplink", setting.uplink_socket,
        "--cpu", arguments.generator_cpu, "--memory", GENERATOR_MB, "--network", arguments.network, "--flows", number,
        "--duration", 0.1, "--repeat", 1, "--json", result, "--quiet")] + ([] if setting.has_hugepages else ["--no-huge"])
    done = subprocess.run(machine.bound_to_parent(command), capture_output=True, text=True, timeout=600, env=setting.environment)
    opened = device.ask("status")[0]["sessions"]["active"]
    if opened < number:
        raise DeviceError(f"{opened} of {number} sessions are open:\n{done.stdout[-500:]}{done.stderr[-500:]}")


def old_session(device, number):
    """A session's endpoints; of a table without any, those of a flow to be opened."""
    if number == 0:
        return ("192.168.122.10", 4000), ("198.19.0.1", 4001)
    session = device.ask("sessions", protocol="udp", limit=1)[0]
    return [(address, int(port)) for address, port in (session[end].split(":") for end in ("internal", "remote"))]


def first_frame(guest, router, gateway_mac, endpoints, device):
    """The VM sends, again and again, until a frame of it comes out: when vmnatd was ready, and when that is."""
    (internal, port), (remote, remote_port) = endpoints
    packet = bytes(Ether(src=VM_MAC, dst=gateway_mac) / IP(src=internal, dst=remote) / UDP(sport=port, dport=remote_port) / b"hello")
    answer = bytes(Ether(src=ROUTER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(op=2, hwsrc=ROUTER_MAC, psrc=ROUTER, pdst="198.18.0.2"))
    wanted = socket.inet_aton(remote) + struct.pack("!H", remote_port)
    ready = None

    def came_out():
        nonlocal ready
        if ready is None and b"vmnatd ready" in device.log.read_bytes():
            ready = time.monotonic()
        guest.send(packet)
        while (seen := router.receive()) is not None:
            if ARP in seen and seen[ARP].pdst == ROUTER:
                router.send(answer)
            elif IP in seen and bytes(seen[IP])[16:20] + bytes(seen[IP])[22:24] == wanted:
                return True
        return False
    frame = await_moment(came_out, "a frame", device)
    return ready or await_moment(lambda: b"vmnatd ready" in device.log.read_bytes(), "ready", device), frame


def connected(path, mac, device):
    """A guest on the socket as soon as it listens."""
    found = []

    def connect():
        with contextlib.suppress(OSError):
            found.append(VhostUserGuest(path, mac))
        return found
    await_moment(connect, f"a connection to {path}", device)
    return found[0]


def restart(setting, device, endpoints, gateway_mac):
    """One restart: milliseconds from exec to each step, and memory."""
    device.kill()
    begin = device.spawn()
    sockets = await_moment(lambda: setting.vm_socket.exists() and setting.uplink_socket.exists(), "a socket", device)
    with connected(setting.uplink_socket, ROUTER_MAC, device) as router, connected(setting.vm_socket, VM_MAC, device) as guest:
        ready, frame = first_frame(guest, router, gateway_mac, endpoints, device)
        sessions = device.ask("status")[0]["sessions"]
        memory = device.resident_mb()
    moments = {"sockets": sockets, "ready": ready, "frame": frame}
    return {**{step: 1000 * (moment - begin) for step, moment in moments.items()}, "memory_mb": memory,
            "restored": (sessions["former"] or {}).get("restored", 0), "image": sessions["image"]}


def measure(arguments, setting, number):
    device = RestartedVmnatd(setting)
    try:
        open_sessions(arguments, setting, device, number)
        endpoints = old_session(device, number)
        gateway_mac = device.ask("networks")[0]["mac"]
        return [restart(setting, device, endpoints, gateway_mac) for _ in range(arguments.rounds)]
    finally:
        device.stop()


def row_of(number, rounds):
    steps = {step: median(one[step] for one in rounds) for step in STEPS}
    anonymous, shared = rounds[-1]["memory_mb"]
    bound = lambda target: target[0] + number * target[1] / 1e6
    verdict = "aim" if steps["frame"] <= bound(AIM) else "must" if steps["frame"] <= bound(MUST) else "missed"
    spread = f"{min(one['frame'] for one in rounds):.0f}-{max(one['frame'] for one in rounds):.0f}"
    return (f"{number:>9}  {rounds[-1]['restored']:>9}  {steps['sockets']:>7.0f}  {steps['ready']:>7.0f}  {steps['frame']:>7.0f}  "
            f"{spread:>9}  {bound(MUST):>5.0f} {bound(AIM):>5.0f}  {verdict:<6}  {anonymous:>6}  {shared:>6}")


def run(arguments, directory, commit):
    """A line for each number of sessions; 1 when a target is missed."""
    numbers = arguments.restart or DEFAULT
    results = {}
    with machine.hugepages(0 if arguments.no_huge else GENERATOR_MB + DEVICE_MB) as are_there:
        has_hugepages = are_there and not arguments.no_huge
        for number in numbers:
            show_progress(f"{number} sessions")
            setting = Setting(directory, arguments.build, arguments.worker_cpu, arguments.control_cpu, has_hugepages,
                              max(1 << 18, 1 << number.bit_length()), arguments.network, arguments.external)
            results[number] = measure(arguments, setting, number)
    show_progress("")
    print(f"restart after kill -9, {commit}, {'huge pages' if has_hugepages else 'ordinary pages'}, image {results[numbers[0]][0]['image']}, "
          f"medians of {arguments.rounds}, milliseconds from exec")
    print(" sessions   restored  sockets    ready    frame     spread   must   aim  target  own MB shared MB")
    rows = [row_of(number, rounds) for number, rounds in results.items()]
    print("\n".join(rows))
    output = arguments.output or BENCH / "results" / f"{datetime.date.today()}-{socket.gethostname()}-restart.json"
    output.write_text(json.dumps({"commit": commit, "hugepages": has_hugepages, "results": results}, indent=1) + "\n")
    print(f"written to {output}")
    return 1 if any("missed" in row for row in rows) else 0
