#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The main job, statement by statement: a real VM gets its address from vmnat and reaches the outside by it."""

import ipaddress

from harness import config
from harness.internet import HOST
from harness.tap import Suite, check, check_equal
from vm_lab import GATEWAY, MAC, VmLab


def make_lab(scope):
    lab = VmLab(scope)
    lab.start_vmnatd()
    lab.start_vm()
    lab.address = "no address yet"
    return lab


suite = Suite(make_lab)


@suite.test("udhcpc in the VM gets a lease: address, mask, router, DNS, MTU, domain, lease time, server")
def lease(lab):
    given = lab.vm.obtain_lease()
    lab.address = given["ip"]
    check(ipaddress.ip_address(given["ip"]) in ipaddress.ip_network("192.168.122.0/24"), f"address {given['ip']}")
    check(given["ip"] != GATEWAY, "the gateway's own address was given away")
    wanted = {"subnet": "255.255.255.0", "router": GATEWAY, "dns": "9.9.9.9", "mtu": "1450", "domain": "lab.example",
              "lease": "3600", "serverid": GATEWAY}
    check_equal({name: given.get(name) for name in wanted}, wanted, "the lease in the VM")


@suite.test("vmnatctl leases shows the same lease")
def lease_shown(lab):
    shown = [(entry["network"], entry["address"], entry["mac"], entry["port"]) for entry in lab.vmnatd.ctl("leases")]
    check_equal(shown, [("default", lab.address, MAC, "vm1")], "leases")


@suite.test("the VM pings its gateway, and has resolved it by ARP")
def gateway(lab):
    check(lab.vm.ping(GATEWAY, count=3), "no answer")
    neighbours = lab.vm.run("ip neigh").check().output
    check(f"{GATEWAY} dev eth0 lladdr" in neighbours, f"ip neigh: {neighbours}")


@suite.test("the VM pings a host on the Internet")
def internet_host(lab):
    check(lab.vm.ping(HOST, count=3), "no answer")


@suite.test("the VM downloads 10 MB over TCP with the right hash")
def download(lab):
    lab.download()


@suite.test("the web server sees the uplink's address and a port from 1024-65535")
def seen_by_web_server(lab):
    address, port = lab.vm.run(f"wget -q -O - http://{HOST}/whoami").check().output.split()
    check_equal(address, config.UPLINK_ADDRESS, "the VM's address on the Internet")
    check(1024 <= int(port) <= 65535, f"port {port}")
    check(all(line.split()[1] == config.UPLINK_ADDRESS for line in lab.internet.requests()), str(lab.internet.requests()))


@suite.test("a UDP exchange: a DNS question is answered, and came from the uplink's address")
def udp_exchange(lab):
    answer = lab.vm.run(f"nslookup whoami.example {HOST}").check().output
    check(f"Address: {config.UPLINK_ADDRESS}\n" in answer, answer)


@suite.test("vmnatctl sessions shows the TCP, UDP and ICMP sessions of the VM")
def sessions(lab):
    lab.check_reaches_internet()
    lab.vm.run(f"nslookup whoami.example {HOST}; wget -q -O /dev/null http://{HOST}/whoami").check()
    shown = [entry for entry in lab.vmnatd.sessions() if entry["remote"].split(":")[0] == HOST]
    check_equal({entry["protocol"] for entry in shown}, {"tcp", "udp", "icmp"}, f"protocols in {shown}")
    for entry in shown:
        address, port = entry["external"].split(":")
        check_equal((entry["network"], entry["port"], entry["internal"].split(":")[0], address),
                    ("default", "vm1", lab.address, config.UPLINK_ADDRESS), "a session")
        check(entry["protocol"] == "icmp" or 1024 <= int(port) <= 65535, f"external port of {entry}")
        check(entry["packets_out"] > 0 and entry["packets_in"] > 0, f"packets of {entry}")


@suite.test("vmnatctl ports shows the VM's port up, with its MAC and address")
def port_shown(lab):
    port = next(entry for entry in lab.vmnatd.ctl("ports") if entry["name"] == "vm1")
    check_equal((port["network"], port["link"], port["mac"], port["address"]), ("default", "up", MAC, lab.address), "vm1")
    check(port["rx_packets"] > 0 and port["tx_packets"] > 0, f"packets of {port}")


@suite.test("hosts on the Internet ping the uplink's address")
def uplink_pinged(lab):
    for namespace in (lab.internet.router, lab.internet.host):
        namespace.run("ping", "-c", 3, "-W", 5, config.UPLINK_ADDRESS)


for option, mode in (("", "UDP"), ("-I", "ICMP")):
    @suite.test(f"traceroute by {mode} in the VM shows the gateway, the router beyond the uplink, and the host")
    def traceroute(lab, option=option):
        output = lab.vm.run(f"traceroute {option} -n -q 2 -w 5 -m 8 {HOST}", 120).check().output
        hops = [line.split()[1] for line in output.splitlines() if line.split()[0].isdigit()]
        check_equal(hops, [GATEWAY, config.UPLINK_ROUTER, HOST], f"hops of\n{output}")


@suite.test("with another's address the VM reaches nobody; with its own it does, throughout")
def spoof_guard(lab):
    for address in ("192.168.122.77", GATEWAY):
        before = lab.vmnatd.counters()["drop.spoofed_address"]
        lab.vm.run(f"ip addr add {address}/32 dev eth0").check()
        lab.vm.run("ip neigh flush dev eth0")  # so that it asks by ARP, too
        check(lab.vm.run(f"ping -c 2 -W 1 -I {address} {HOST}").code != 0, f"an answer to {address}")
        lab.vm.run(f"ip addr del {address}/32 dev eth0").check()
        check(lab.vmnatd.counters()["drop.spoofed_address"] > before, f"nothing from {address} was dropped as spoofed")
    lab.check_reaches_internet()


@suite.test("every frame is accounted for")
def accounting(lab):
    received = sum(port["rx_bytes"] for port in lab.vmnatd.ctl("ports"))
    check(received > 10_000_000, f"{received} bytes are fewer than a 10 MB download has")
    lab.vmnatd.check_accounting()


@suite.test("no frame left by the uplink with an inside source address")
def no_leak(lab):
    check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


if __name__ == "__main__":
    suite.main()
