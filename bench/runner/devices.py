# SPDX-License-Identifier: Apache-2.0
"""The devices under test: each is a process between two ports, one towards the VM and one towards the uplink.

A device is started on the worker's CPU, says when it is ready, and is stopped again, by its process id. testpmd passes
frames on unchanged and is the bound; vmnatd translates them; the kernel (bridge-less masquerade over veth pairs) is what
vmnat replaces.
"""
import contextlib
import functools
import json
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from linux_nat import Namespace, forward_and_translate, veth
from machine import bound_to_parent, give_priority

START_DEADLINE = 30  # seconds
STOP_DEADLINE = 10
ANSWER_DEADLINE = 60


class DeviceError(Exception):
    """A device that does not start or has died; the text says why."""


@dataclass
class Setting:
    """What all devices of a run have in common."""
    directory: Path     # of this run: sockets, logs, configuration
    build: Path
    worker_cpu: int
    control_cpu: int
    has_hugepages: bool
    sessions: int
    network: str        # of the VMs: gateway address and length
    external: str       # range A-B of external addresses; empty: the uplink's

    @property
    def environment(self):
        """EAL keeps its runtime files in the run's own directory."""
        return {**os.environ, "RUNTIME_DIRECTORY": str(self.directory)}

    @property
    def vm_socket(self):
        return self.directory / "vm.sock"

    @property
    def uplink_socket(self):
        return self.directory / "uplink.sock"


class Device:
    """A process with vhost-user sockets that it creates."""
    name = ""
    mode = "nat"          # as vmnat-bench's --mode
    most_flows = 2**32    # what it is measured with at most
    generator_prefix = ()  # the command under which vmnat-bench reaches the ports
    searches_connections = True  # whether its session table holds what a search opens

    def __init__(self, setting):
        self.setting = setting
        self.process = None
        self.log = setting.directory / f"{self.name}.log"

    def command(self):
        raise NotImplementedError

    @property
    def vms(self):
        """Their sockets, by name."""
        return {"vm": self.setting.vm_socket}

    @property
    def sockets(self):
        """The VMs', then the uplink's."""
        return [*self.vms.values(), self.setting.uplink_socket]

    def is_ready(self):
        return all(path.exists() for path in self.sockets)

    @property
    def environment(self):
        return self.setting.environment

    def ports(self):
        """What vmnat-bench attaches to."""
        return str(self.setting.vm_socket), str(self.setting.uplink_socket)

    def start(self):
        for path in self.sockets:
            path.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(bound_to_parent(self.command()), stdin=subprocess.PIPE, stdout=log, stderr=log,
                                            start_new_session=True, env=self.environment)
        deadline = time.monotonic() + START_DEADLINE
        while not self.is_ready():
            if self.process.poll() is not None:
                raise DeviceError(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise DeviceError(f"{self.name} is not ready after {START_DEADLINE} s:\n{self.log_tail()}")
            time.sleep(0.02)
        give_priority(self.process.pid)

    def log_tail(self):
        return "\n".join("    " + line for line in self.log.read_text(errors="replace").splitlines()[-12:])

    def work(self):
        """Frames that the worker has received since its start, and time stamp counter ticks of the turns that found some; None:
        it does not say."""
        return None

    def ask_to_stop(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.ask_to_stop()
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process = None


class Testpmd(Device):
    """dpdk-testpmd between net_vhost ports: io touches no frame, macswap exchanges its MAC addresses.

    It counts its ticks (two reads of the counter for each burst). What it prints comes line by line, so that it can be read.
    """
    mode = "forward"
    WORK = re.compile(rb"total cycles=(\d+) / total \w* ?packets=(\d+)")

    def __init__(self, setting, forward_mode):
        self.name = forward_mode
        super().__init__(setting)

    def command(self):
        setting = self.setting
        memory = ["--in-memory"] if setting.has_hugepages else ["--no-huge"]
        return ["stdbuf", "--output=L", "dpdk-testpmd", *memory, "-m", "256", "--no-pci", "--no-telemetry", "--iova-mode=va",
                f"--file-prefix=bench{os.getpid()}", f"--lcores=0@{setting.control_cpu},1@{setting.worker_cpu}",
                *(f"--vdev=net_vhost{number},iface={path},queues=1" for number, path in enumerate(self.sockets)),
                "--", f"--forward-mode={self.name}", "--nb-cores=1", "--total-num-mbufs=16384", "--disable-link-check", "--record-core-cycles",
                "--interactive", "--auto-start"]

    def tell(self, command):
        self.process.stdin.write(command + b"\n")
        self.process.stdin.flush()

    def work(self):
        told = self.log.stat().st_size
        self.tell(b"show fwd stats all")
        deadline = time.monotonic() + ANSWER_DEADLINE
        while not (found := self.WORK.search(self.log.read_bytes(), told)):
            if time.monotonic() > deadline:
                raise DeviceError(f"{self.name} does not say what it has done:\n{self.log_tail()}")
            time.sleep(0.001)
        return int(found[2]), int(found[1])

    def ask_to_stop(self):
        with contextlib.suppress(OSError):
            self.tell(b"quit")


class Vmnatd(Device):
    """Every start has an empty table: what a daemon before has left of its sessions is removed."""
    name = "vmnat"

    def start(self):
        self.forget_sessions()
        super().start()

    def stop(self):
        super().stop()
        self.forget_sessions()

    def forget_sessions(self):
        image = f"{self.setting.directory}/vmnat.sock.sessions"
        for path in (Path(image), *Path("/dev/hugepages").glob("vmnat" + image.replace("/", "-"))):
            path.unlink(missing_ok=True)

    @property
    def binary(self):
        return self.setting.build / "control" / "vmnatd"

    def command(self):
        configuration = self.setting.directory / "vmnatd.yaml"
        configuration.write_text(self.configuration())
        return [str(self.binary), "--config", str(configuration)]

    def configuration(self):
        setting = self.setting
        ports = "\n".join(f"      - {{name: {name}, vhost_user: {path}, mode: server}}" for name, path in self.vms.items())
        return f"""\
dataplane:
  workers: [{setting.worker_cpu}]
  control_cpu: {setting.control_cpu}
  memory: 512M
  hugepages: {"auto" if setting.has_hugepages else "off"}
  idle: poll
uplink:
  device: "net_vhost0,iface={setting.uplink_socket},queues=1"
  address: 198.18.0.2/24
  gateway: 198.18.0.1
networks:
  - name: bench
    address: {setting.network}
    nat: {{addresses: [{setting.external or "198.18.0.2"}]}}
    ports:
{ports}
conntrack:
  sessions: {setting.sessions}
control:
  socket: {setting.directory}/vmnat.sock
  state_dir: {setting.directory}
"""

    def is_ready(self):
        return super().is_ready() and b"vmnatd ready" in self.log.read_bytes()

    @contextlib.contextmanager
    def asked(self):
        """In the block: a function that has a command answered, by a list of elements (control/admin/server.h)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_DEADLINE)
            connection.connect(str(self.setting.directory / "vmnat.sock"))
            with connection.makefile("rw") as lines:
                yield functools.partial(answer_to, lines)

    def ask(self, command, **arguments):
        """The same for one command."""
        with self.asked() as ask:
            return ask(command, **arguments)

    def work(self):
        workers = self.ask("workers")
        return sum(worker["packets"] for worker in workers), sum(worker["busy_cycles"] for worker in workers)


class OtherVmnatd(Vmnatd):
    """Another build: the commit before, for what a change has gained."""
    name = "before"

    def __init__(self, program, setting):
        super().__init__(setting)
        self.program = program

    @property
    def binary(self):
        return self.program


def answer_to(lines, command, **arguments):
    lines.write(json.dumps({"command": command, "arguments": arguments}) + "\n")
    lines.flush()
    elements = []
    while not {"end", "error"} & (line := json.loads(lines.readline())).keys():
        elements.append(line)
    if "error" in line:
        raise DeviceError(f"{command}: {line['error']}")
    return elements[1:]


class Kernel(Device):
    """What vmnat replaces: Linux forwards between a bridge and an uplink, masquerading by nftables.

    It lives in a network namespace, the generator (AF_PACKET on veth pairs) in another. A veth hands its frames on where
    they are sent: the kernel's work is done on the generator's CPU. Steering it to the worker's (RPS) made it three times
    slower here: 0.17 against 0.53 Mpps.
    """
    name = "kernel"
    most_flows = 60_000
    searches_connections = False

    def __init__(self, setting):
        super().__init__(setting)
        self.scope = contextlib.ExitStack()

    @property
    def generator_prefix(self):
        return "nsenter", f"--net={self.outside.path}"

    def ports(self):
        return "net_af_packet0,iface=vm,qdisc_bypass=1", "net_af_packet1,iface=uplink,qdisc_bypass=1"

    def start(self):
        self.log.write_text("")
        try:
            self.gateway, self.outside = (self.scope.enter_context(Namespace(name)) for name in ("gateway", "outside"))
            for interface in ("vm", "uplink"):
                veth(self.outside, interface, self.gateway, interface)
            self.gateway.run("ip", "link", "add", "virbr", "type", "bridge")
            self.gateway.run("ip", "link", "set", "vm", "master", "virbr")
            self.gateway.run("ip", "link", "set", "virbr", "up")
            self.gateway.set_address("virbr", self.setting.network)
            self.gateway.set_address("uplink", "198.18.0.2/24")
            self.gateway.add_route("default", "198.18.0.1")
            forward_and_translate(self.gateway, "uplink", self.translation())
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"kernel: {error}") from None

    def translation(self):
        if self.setting.external:
            return f"snat to {self.setting.external}:1024-65535"
        return "masquerade to :1024-65535"

    def stop(self):
        self.scope.close()
