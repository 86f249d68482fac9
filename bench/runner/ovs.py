# SPDX-License-Identifier: Apache-2.0
"""OVS-DPDK as a NAT gateway: the nearest peer that Debian has, between the same two vhost-user ports.

One bridge of the userspace datapath, conntrack with NAT, one PMD thread on the worker's CPU; all else of OVS on the control
thread's. OpenFlow does what a gateway does: it answers ARP, translates, decrements TTL, sets MACs. An outbound packet takes
one conntrack pass, whether its session is new or not. Nothing is installed or left: database, sockets and logs are in the
run's directory, the bridge's TAP devices in a network namespace that ends with the process.
"""
import shutil
import subprocess
from pathlib import Path

from devices import Device, DeviceError
from machine import bound_to_parent

SWITCH = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
GATEWAY_MAC, UPLINK_MAC = "52:54:00:0f:00:01", "52:54:00:0f:00:02"
VM_MAC, ROUTER_MAC = "52:54:00:be:00:01", "52:54:00:be:00:02"  # vmnat-bench's own
STOP_DEADLINE = 10


def missing_programs():
    if SWITCH.exists() and SCHEMA.exists() and shutil.which("ovsdb-server"):
        return []
    return ["ovs-vswitchd-dpdk (package openvswitch-switch-dpdk)"]


def arp_responder(port, address, mac):
    return (f"table=0,priority=10,in_port={port},arp,arp_op=1,arp_tpa={address},actions="
            "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],"
            f"set_field:{mac}->eth_src,set_field:2->arp_op,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],"
            f"move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],set_field:{mac}->arp_sha,set_field:{address}->arp_spa,in_port")


def gateway_flows(gateway, external):
    """OpenFlow: port 1 is the VM's, port 2 the uplink."""
    return [
        arp_responder(1, gateway, GATEWAY_MAC),
        arp_responder(2, "198.18.0.2", UPLINK_MAC),
        f"table=0,priority=5,in_port=1,ip,actions=ct(commit,zone=1,nat(src={external}:1024-65535),table=1)",
        "table=0,priority=5,in_port=2,ip,actions=ct(zone=1,nat,table=2)",
        f"table=1,ct_state=+trk-inv,ip,actions=dec_ttl,set_field:{UPLINK_MAC}->eth_src,set_field:{ROUTER_MAC}->eth_dst,output:2",
        f"table=2,ct_state=+trk+est,ip,actions=dec_ttl,set_field:{GATEWAY_MAC}->eth_src,set_field:{VM_MAC}->eth_dst,output:1",
    ]


class Ovs(Device):
    name = "ovs"

    def __init__(self, setting):
        super().__init__(setting)
        self.database = None

    @property
    def environment(self):
        directory = str(self.setting.directory)
        return {**self.setting.environment, "OVS_RUNDIR": directory, "OVS_LOGDIR": directory, "OVS_DBDIR": directory,
                "OVS_SYSCONFDIR": directory}

    def path(self, name):
        return self.setting.directory / name

    def run(self, *command, text=None):
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=self.environment, timeout=30)
        if done.returncode != 0:
            raise DeviceError(f"ovs: {command[0]}: {done.stderr.strip()}\n{self.log_tail()}")

    def isolated(self, *command):
        return ["unshare", "--net", "taskset", "-c", str(self.setting.control_cpu), *command]

    def command(self):
        return self.isolated(str(SWITCH), f"unix:{self.path('db.sock')}", f"--unixctl={self.path('switch.ctl')}",
                             "--no-chdir", "-vconsole:warn", "-vsyslog:off")

    def start(self):
        for name in ("conf.db", ".conf.db.~lock~", "db.sock"):
            self.path(name).unlink(missing_ok=True)
        self.log.write_text("")
        self.run("ovsdb-tool", "create", str(self.path("conf.db")), str(SCHEMA))
        self.database = subprocess.Popen(
            bound_to_parent(self.isolated("ovsdb-server", str(self.path("conf.db")), f"--remote=punix:{self.path('db.sock')}",
                                          f"--unixctl={self.path('db.ctl')}", "-vconsole:off", "-vsyslog:off")),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=self.environment)
        self.configure()
        super().start()
        switch = str(self.path("switch.ctl"))
        self.run("ovs-appctl", "-t", switch, "dpctl/ct-set-maxconns", str(self.setting.sessions))
        gateway = self.setting.network.split("/")[0]
        flows = gateway_flows(gateway, self.setting.external or "198.18.0.2")
        self.run("ovs-ofctl", "add-flows", f"unix:{self.path('br0.mgmt')}", "-", text="\n".join(flows) + "\n")

    def configure(self):
        setting = self.setting
        # OVS adds --in-memory unless it finds --legacy-mem, which --no-huge implies and --in-memory excludes.
        memory = "--in-memory" if setting.has_hugepages else "--no-huge --legacy-mem"
        # Its packet pool begins with 262144 buffers; with hugepages it takes fewer when they do not fit.
        megabytes = 512 if setting.has_hugepages else 2048
        options = {"dpdk-init": "true", "dpdk-lcore-mask": hex(1 << setting.control_cpu),
                   "pmd-cpu-mask": hex(1 << setting.worker_cpu),
                   "dpdk-extra": f"{memory} -m {megabytes} --no-pci --no-telemetry"}
        # --retry: until the database listens.
        vsctl = ["ovs-vsctl", "--timeout=20", "--retry", f"--db=unix:{self.path('db.sock')}", "--no-wait"]
        self.run(*vsctl, "init")
        self.run(*vsctl, "set", "Open_vSwitch", ".", *[f'other_config:{key}="{value}"' for key, value in options.items()])
        self.run(*vsctl, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure",
                 *self.port(setting.vm_socket, 1), *self.port(setting.uplink_socket, 2))

    @staticmethod
    def port(socket, number):
        """A vhost-user port of this kind creates the socket that it is named after, in OVS_RUNDIR."""
        return ["--", "add-port", "br0", socket.name, "--", "set", "Interface", socket.name, "type=dpdkvhostuser",
                f"ofport_request={number}"]

    def is_ready(self):
        return super().is_ready() and self.path("br0.mgmt").exists() and self.path("switch.ctl").exists()

    def stop(self):
        super().stop()
        if self.database is None:
            return
        self.database.terminate()
        try:
            self.database.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.database.kill()
            self.database.wait()
        self.database = None
