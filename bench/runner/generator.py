# SPDX-License-Identifier: Apache-2.0
"""vmnat-bench beside a device that has been started, and what it says of it."""
import json
import subprocess
import sys

import machine
from clock import device_clock
from devices import DeviceError


def generator_command(arguments, device, megabytes):
    """vmnat-bench on the device's ports, without what it shall measure."""
    vm_port, uplink_port = device.ports()
    command = [arguments.build / "bench" / "vmnat-bench", "--vm", vm_port, "--uplink", uplink_port, "--mode", device.mode,
               "--device-name", device.name, "--cpu", arguments.generator_cpu, "--memory", megabytes,
               "--network", arguments.network,
               "--device-cpu", arguments.worker_cpu, "--quiet"]
    command += ["--packed"] if arguments.packed else []
    command += ["--queue-size", str(arguments.queue_size)]
    return command + ([] if device.setting.has_hugepages else ["--no-huge"])


def measured(command, device, seconds):
    """The result of this command, to which --json and --device-clock are added; after so many seconds it hangs."""
    result = device.setting.directory / "result.json"
    result.unlink(missing_ok=True)
    with device_clock(device) as clock:
        returncode, output = generate([*map(str, command), "--json", str(result), "--device-clock", str(clock)], device, seconds, clock)
    if not result.exists():
        raise DeviceError(f"{device.name}: vmnat-bench ended with {returncode}:\n{output[-1500:]}\n"
                          f"the device's last words:\n{device.log_tail()}")
    return json.loads(result.read_text())


def generate(command, device, seconds, clock):
    """vmnat-bench's exit code, and what it said. On a terminal its progress line is the user's; its last words as well."""
    generator = subprocess.Popen(machine.bound_to_parent(command), stdout=subprocess.PIPE, text=True, pass_fds=[clock],
                                 stderr=None if sys.stderr.isatty() else subprocess.STDOUT,
                                 start_new_session=True, env=device.setting.environment)
    try:
        machine.give_priority(generator.pid)
        output, _ = generator.communicate(timeout=seconds)
    finally:
        if generator.poll() is None:
            generator.kill()
            generator.wait()
    return generator.returncode, output
