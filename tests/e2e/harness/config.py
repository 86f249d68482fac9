# SPDX-License-Identifier: Apache-2.0
"""vmnatd configurations as dictionaries, with defaults that run on any machine.

    configuration(directory, uplink="uplink0", networks=[
        network("default", "192.168.122.1/24", [vhost_user_port("vm1", directory / "vm1.sock")])])

JSON is YAML: what is written is `json.dumps`. No hugepages, the last CPU as worker, and an EAL file prefix
of its own for each run, so that any number of daemons live side by side.
"""

import itertools
import os

UPLINK_ADDRESS, UPLINK_ROUTER = "203.0.113.2", "203.0.113.1"
UPLINK_MAC = "52:54:00:00:00:01"
_serial = itertools.count()


def configuration(directory, uplink, networks, **sections):
    return {
        "dataplane": {"memory": "256M", "hugepages": "off",
                      "eal": [f"--file-prefix=vmnat-{os.getpid()}-{next(_serial)}"]},
        "uplink": {"device": uplink, "address": f"{UPLINK_ADDRESS}/24", "gateway": UPLINK_ROUTER, "mac": UPLINK_MAC},
        "networks": networks,
        "conntrack": {"sessions": 65536},
        "control": {"socket": str(directory / "vmnat.sock"), "state_dir": str(directory / "state")},
        **sections,
    }


def network(name, address, ports, **keys):
    return {"name": name, "address": address, "ports": ports, **keys}


def vhost_user_port(name, socket, mode="client"):
    """mode is vmnatd's: as client it connects to QEMU's socket, as server QEMU connects to its."""
    return {"name": name, "vhost_user": str(socket), "mode": mode}


def veth_port(name, device):
    return {"name": name, "device": device}


def dhcp(first, last, **keys):
    return {"ranges": [f"{first}-{last}"], "lease_time": "1h", "dns": ["9.9.9.9"], **keys}
