# SPDX-License-Identifier: Apache-2.0
"""The control: the Linux kernel on the wires of gateway.py, set up as libvirt sets up its NAT networks.

A bridge for each network with the gateway's address, IPv4 forwarding, masquerade with ports 1024-65535 for TCP
and UDP, replies alone let in, networks kept apart by `reject`, and destination NAT for the forwards with what operators
add for hairpins. Neighbours are given, not asked for: whether ARP works is a case, not a condition of all.
"""

from .gateway import (EXTERNAL, FORWARDS, MACS, ON_LINK, PREFIXES, RANGE, RESTRICTED, ROUTER, ROUTER_MAC, SHARED, UPLINK_MAC,
                      UPLINK_MTU, Gateway)

SETTINGS = {"net/ipv4/ip_forward": 1, "net/ipv4/conf/all/rp_filter": 1, "net/ipv4/conf/default/rp_filter": 1,
            "net/ipv4/conf/all/send_redirects": 0, "net/ipv4/conf/default/send_redirects": 0,
            "net/ipv4/conf/all/accept_source_route": 0, "net/ipv4/icmp_ratelimit": 0,
            "net/bridge/bridge-nf-call-iptables": 0, "net/netfilter/nf_conntrack_tcp_be_liberal": 0,
            "net/netfilter/nf_conntrack_tcp_loose": 1}


def bridge(network) -> str:
    return f"br-{network}"


class KernelGateway(Gateway):
    more_addresses = ()  # of the uplink
    more_ways = ()  # rules of the chain forward, before the others
    more_translations = {"prerouting": (), "postrouting": ()}  # before the others; by chain

    def __init__(self, scope):
        super().__init__(scope, "kernel")
        scope.callback(self.close)
        with self.inside.entered():
            for name, value in SETTINGS.items():
                self.inside.write_sysctl(name, value)
        for network in PREFIXES:
            self.make_bridge(network)
        ip = self.ip
        ip("link", "set", "uplink0", "address", UPLINK_MAC, "mtu", UPLINK_MTU)
        ip("address", "add", f"{EXTERNAL}/24", "dev", "uplink0")
        for address in self.more_addresses:
            ip("address", "add", f"{address}/32", "dev", "uplink0")
        ip("route", "add", "default", "via", ROUTER)
        for neighbour in (ROUTER, ON_LINK):
            ip("neigh", "add", neighbour, "lladdr", ROUTER_MAC, "dev", "uplink0", "nud", "permanent")
        self.inside.run("nft", self.rules())
        for station in self.stations.values():
            station.send(station.arp(1, station.address))
            self.fence(station)

    def ip(self, *arguments):
        self.inside.run("ip", *arguments)

    def make_bridge(self, network):
        name, ip = bridge(network), self.ip
        ip("link", "add", name, "address", MACS[network], "type", "bridge", "stp_state", 0, "mcast_snooping", 0)
        for guest, port in self.ports_of(network).items():
            ip("link", "set", port, "master", name)
        ip("link", "set", name, "up")
        ip("address", "add", f"{PREFIXES[network]}.1/24", "brd", f"{PREFIXES[network]}.255", "dev", name)
        for guest in self.ports_of(network):
            ip("neigh", "add", self.guests[guest].address, "lladdr", self.guests[guest].mac, "dev", name, "nud", "permanent")

    def rules(self) -> str:
        networks = [(bridge(name), f"{prefix}.0/24") for name, prefix in PREFIXES.items() if name != "alone"]
        forward = [f'iifname "{name}" oifname "{name}" accept' for name in map(bridge, PREFIXES)]
        forward += ["ct status dnat accept", *self.more_ways]
        forward += [f'oifname "{name}" ip daddr {net} ct state established,related accept' for name, net in networks]
        forward += [f'oifname "{name}" reject' for name in map(bridge, PREFIXES)]
        forward += [f'iifname "{name}" ip saddr {net} accept' for name, net in networks]
        forward += [f'iifname "{name}" reject' for name in map(bridge, PREFIXES)]
        masquerade = []
        for _, net in networks:
            away = f"ip saddr {net} ip daddr != {net}"
            masquerade += [f"ip saddr {net} ip daddr 224.0.0.0/24 return", f"ip saddr {net} ip daddr 255.255.255.255 return",
                           f"{away} meta l4proto tcp masquerade to :1024-65535",
                           f"{away} meta l4proto udp masquerade to :1024-65535", f"{away} masquerade",
                           f"ip saddr {net} ip daddr {net} ct status dnat masquerade"]
        masquerade = [*self.more_translations["postrouting"], *masquerade]
        forwards = [*self.more_translations["prerouting"]]
        forwards += [f"ip daddr {EXTERNAL} {protocol} dport {port} dnat to {to}:{to_port}"
                     for protocol, port, to, to_port in FORWARDS]
        first, last, to, to_first = RANGE
        shifted = ", ".join(f"{port} : {to} . {port - first + to_first}" for port in range(first, last + 1))
        servers = ", ".join(f"{number} : {vm} . {SHARED[2]}" for number, vm in enumerate(SHARED[1]))
        forwards += [f"ip daddr {EXTERNAL} dnat ip to udp dport map {{ {shifted} }}",
                     f"ip saddr {RESTRICTED[0]} ip daddr {EXTERNAL} tcp dport {RESTRICTED[1]} "
                     f"dnat to {RESTRICTED[2]}:{RESTRICTED[3]}",
                     f"ip daddr {EXTERNAL} tcp dport {SHARED[0]} "
                     f"dnat ip to jhash ip saddr mod {len(SHARED[1])} map {{ {servers} }}"]
        return f"""table ip control {{
          chain forward {{ type filter hook forward priority filter; {"; ".join(forward)}; }}
          chain prerouting {{ type nat hook prerouting priority dstnat; {"; ".join(forwards)}; }}
          chain postrouting {{ type nat hook postrouting priority srcnat; {"; ".join(masquerade)}; }}
        }}"""
