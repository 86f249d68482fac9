# SPDX-License-Identifier: Apache-2.0
"""What one VM that floods costs another one on the same worker: `./run bench --floods`.

For each flood vmnatd is started anew, with two VMs on one network that has DHCP. The victim's load is moderate and at a
fixed rate, far below its fair share; vmnat-bench measures it without the flood, under it, and after it. What vmnatd
counted meanwhile stands beside it.
"""
import datetime
import json
import socket
import subprocess
import sys
from pathlib import Path

import machine
from devices import DeviceError, Setting, Vmnatd

BENCH = Path(__file__).resolve().parents[1]
GENERATOR_MB = 256
DEVICE_MB = 768
NETWORK, VICTIMS, FLOODER = "10.77.0.1/16", "10.77.0.1/24", "10.77.64.1"  # the victim answers ARP for VICTIMS alone
POOL = "10.77.128.1-10.77.255.250"
ENOUGH = 0.9  # of its rate the victim keeps


class FloodedVmnatd(Vmnatd):
    @property
    def flooder_socket(self):
        return self.setting.directory / "flooder.sock"

    @property
    def vms(self):
        return {**super().vms, "flooder": self.flooder_socket}

    def configuration(self):
        ports = "    ports:\n"
        return super().configuration().replace(ports, f"    dhcp: {{ranges: [{POOL}]}}\n{ports}")

    def counters(self):
        """None of one that does not answer."""
        try:
            return self.ask("counters")[0]
        except (DeviceError, OSError, ValueError):
            return {}


def flood_names(build):
    """From `vmnat-bench --help`: the lines below --flood."""
    text = subprocess.run([build / "bench" / "vmnat-bench", "--help"], capture_output=True, text=True, check=True).stdout
    lines = text[text.index("what it sends:"):].splitlines()[1:]
    names = []
    for line in lines:
        if line.lstrip().startswith("--"):
            break
        names.append(line.split()[0])
    return names


def generator_command(arguments, setting, device, name, result):
    command = [arguments.build / "bench" / "vmnat-bench", "--vm", setting.vm_socket, "--uplink", setting.uplink_socket,
               "--flooder", device.flooder_socket, "--flooder-address", FLOODER, "--flood", name, "--network", VICTIMS,
               "--flows", arguments.flood_flows, "--frame", "128", "--rate", arguments.flood_rate / 2,
               "--duration", arguments.duration, "--cpu", arguments.generator_cpu, "--memory", GENERATOR_MB,
               "--json", result, "--quiet", "--label", f"{name}: "]
    return [str(part) for part in command] + ([] if setting.has_hugepages else ["--no-huge"])


def measure(arguments, setting, name):
    """One flood on a fresh vmnatd: vmnat-bench's result and vmnatd's counters that are not 0."""
    result = setting.directory / "flood.json"
    result.unlink(missing_ok=True)
    device = FloodedVmnatd(setting)
    try:
        device.start()
        generator = subprocess.Popen(machine.bound_to_parent(generator_command(arguments, setting, device, name, result)),
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                     env=setting.environment)
        try:
            machine.give_priority(generator.pid)
            output, _ = generator.communicate(timeout=120 + 4 * arguments.duration)
        except subprocess.TimeoutExpired:
            output = "it hangs"
        finally:
            if generator.poll() is None:
                generator.kill()
                generator.wait()
        ended = device.process.poll()
        if ended is not None:
            return {"flood": name, "fault": f"vmnatd ended with {ended}", "log": device.log_tail()}
        if not result.exists():
            return {"flood": name, "fault": "no result", "log": output[-1500:] + device.log_tail()}
        return {**json.loads(result.read_text()), "counters": {key: n for key, n in device.counters().items() if n}}
    except DeviceError as error:
        return {"flood": name, "fault": str(error), "log": ""}
    finally:
        device.stop()


def verdict(result):
    """What is not as it should be; empty when all is."""
    if "fault" in result:
        return [result["fault"]]
    lines = []
    if result["share"] < ENOUGH:
        lines.append(f"the victim keeps {result['share']:.2f} of its rate")
    if result["after"]["mpps"] < ENOUGH * result["before"]["mpps"]:
        lines.append("its sessions do not come through any more")
    if result["during"]["offers"] < ENOUGH * result["during"]["discovers"]:
        lines.append("its DISCOVERs are not answered")
    return lines


def top_drops(counters, most=3):
    drops = sorted(((n, name) for name, n in counters.items() if name.startswith("drop.")), reverse=True)
    return ", ".join(f"{name.removeprefix('drop.')} {n}" for n, name in drops[:most])


HEAD = (f"{'flood':14} | {'Mpps':>7} | {'victim':>7} {'flooded':>7} {'share':>6} {'loss %':>7} {'after %':>7} | "
        f"{'p50 us':>7} {'p99 us':>8} | {'OFFERs':>9} | most drops")


def row_of(result):
    if "fault" in result:
        return f"{result['flood']:14} | {result['fault']}"
    before, during, after = (result[phase] for phase in ("before", "during", "after"))
    return (f"{result['flood']:14} | {result['flood_mpps']:7.3f} | {before['mpps']:7.3f} {during['mpps']:7.3f} "
            f"{result['share']:6.3f} {during['loss'] * 100:7.3f} {after['loss'] * 100:7.3f} | "
            f"{result['p50_us']:7.0f} {result['p99_us']:8.0f} | {during['offers']:4}/{during['discovers']:<4} | "
            f"{top_drops(result['counters'])}")


def conditions(arguments, setting, commit, busy):
    return {"time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "host": socket.gethostname(),
            "commit": commit, "generator_cpu": arguments.generator_cpu, "worker_cpu": arguments.worker_cpu,
            "control_cpu": arguments.control_cpu, "hugepages": setting.has_hugepages, "other_work": round(busy, 3),
            "victim_mpps": arguments.flood_rate, "flows": arguments.flood_flows, "seconds": arguments.duration}


def run(arguments, directory, commit):
    """All floods that are asked for, one after another; 1 when one of them costs the victim more than it may."""
    with machine.hugepages(0 if arguments.no_huge else GENERATOR_MB + DEVICE_MB) as has_hugepages:
        setting = Setting(directory, arguments.build, arguments.worker_cpu, arguments.control_cpu,
                          has_hugepages and not arguments.no_huge, 1 << 18, NETWORK, "")
        head = conditions(arguments, setting, commit, machine.busy_share())
        print(json.dumps(head), HEAD, sep="\n")
        results = []
        for name in arguments.floods or flood_names(arguments.build):
            results.append(measure(arguments, setting, name))
            print(row_of(results[-1]), flush=True)
            if results[-1].get("log"):
                print(results[-1]["log"], file=sys.stderr)
    faults = [f"{result['flood']}: {line}" for result in results for line in verdict(result)]
    print(*faults, sep="\n")
    output = arguments.output or BENCH / "results" / f"{datetime.date.today()}-{socket.gethostname()}-floods.json"
    output.write_text(json.dumps({"conditions": head, "floods": results, "faults": faults}, indent=1) + "\n")
    print(f"written to {output}")
    return 1 if faults else 0
