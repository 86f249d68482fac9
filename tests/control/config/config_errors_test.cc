// SPDX-License-Identifier: Apache-2.0
// Bad configuration files and every line that is said about them.
//
// Each row is a text and what stands around it: kUplink is one line, so most rows have their own text on
// line 2. "later" in a name marks what is understood but not supported yet; the other checks already work.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/ids.h"
#include "tests/support/config_text.h"

namespace vmnat::config {
namespace {

enum class Around { Nothing, Uplink, Networks, UplinkAndNetworks, Network, Port, Dhcp, Nat };
using enum Around;

struct Row {
  const char* says;
  Around around;
  const char* yaml;
  const char* problems;  // LINE:COL: message, one a line
};

std::string network(const std::string& keys) {
  return kUplink + "networks: [{name: a, address: 192.168.122.1/24, " + keys + "}]\n";
}

std::string text_of(const Row& row) {
  const std::string yaml = row.yaml;
  switch (row.around) {
    case Nothing:
      return yaml;
    case Uplink:
      return kUplink + yaml;
    case Networks:
      return yaml + kNetworks;
    case UplinkAndNetworks:
      return kUplink + yaml + "\n" + kNetworks;
    case Network:
      return network(yaml);
    case Port:
      return network("ports: [{" + yaml + "}]");
    case Dhcp:
      return network("dhcp: {" + yaml + "}");
    case Nat:
      return network("nat: {" + yaml + "}");
  }
  return yaml;
}

constexpr Row kLimitRows[] = {
    {"limit: neither a map nor the word", Network, "limit: 100M",
     "2:56: limit: must be a map (key: value), not '100M'"},
    {"limit: a direction that is a rate", Network, "limit: {in: 100M}",
     "2:61: in: must be a map (key: value), not '100M'"},
    {"limit: no such direction", Network, "limit: {inn: {rate: 1M}}",
     "2:57: unknown key 'inn' (did you mean 'in'?)"},
    {"rate: in bytes", Network, "limit: {in: {rate: 100MB}}",
     "2:68: rate: '100MB' is not a rate (write 100M or 2500K, in bits a second)"},
    {"rate: too little", Network, "limit: {in: {rate: 7K}}",
     "2:68: rate: '7K' is not between 8K and 1T bits a second"},
    {"rate: too much", Network, "limit: {in: {rate: 2T}}",
     "2:68: rate: '2T' is not between 8K and 1T bits a second"},
    {"rate: negative", Network, "limit: {in: {rate: -1M}}",
     "2:68: rate: '-1M' is not a rate (write 100M or 2500K, in bits a second)"},
    {"burst: without a rate", Network, "limit: {out: {burst: 64K}}",
     "2:70: burst: it is a rate's: say the rate, too"},
    {"burst: with a misread rate", Network, "limit: {out: {rate: x, burst: 64K}}",
     "2:69: rate: 'x' is not a rate (write 100M or 2500K, in bits a second)"},
    {"burst: less than a frame", Network, "limit: {out: {rate: 1M, burst: 1K}}",
     "2:80: burst: 1K is less than a frame, which has up to 1514 bytes here"},
    {"burst: less than a large frame, at a port", Network,
     "mtu: 9000, ports: [{name: p, device: d, limit: {in: {rate: 1M, burst: 8K}}}]",
     "2:119: burst: 8K is less than a frame, which has up to 9014 bytes here"},
    {"peak: less than the rate", Network, "shared_limit: {in: {rate: 2M, peak: 1M}}",
     "2:85: peak: 1M is less than the rate, 2M"},
    {"peak: without a rate", Network, "shared_limit: {in: {peak: 1M}}",
     "2:75: peak: it is a burst's: say the rate, too"},
    {"packets: none", Network, "limit: {in: {packets: 0}}",
     "2:71: packets: must be between 1 and 4294967295, not 0"},
    {"uplink.limit", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, limit: {out: {rate: 1G, peak: "
     "5M}}}\n",
     "1:101: peak: 5M is less than the rate, 1G"},
};

constexpr Row kFileRows[] = {
    {"the file: empty", Nothing, "",
     "1:1: key 'networks' is missing in the file\n"
     "1:1: key 'uplink' is missing in the file"},
    {"the file: a list", Nothing, "- a\n- b\n", "1:1: the file: must be a map (key: value), not a list"},
    {"the file: a word", Nothing, "hello\n", "1:1: the file: must be a map (key: value), not 'hello'"},
    {"the file: not YAML", Nothing, "uplink: {device: eth0\nnetworks: [\n",
     "2:9: YAML: end of map flow not found"},
    {"the file: a tab as indentation", Nothing, "uplink:\n\tdevice: eth0\n", "2:8: YAML: illegal map value"},
    {"the file: two documents", Nothing,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\nnetworks: [{name: a, address: "
     "192.168.122.1/24}]\n---\na: 1\n",
     "4:1: YAML: a second document: a configuration is one document"},
    {"the file: a key that is a list", Nothing, "[a, b]: 1\n", "1:1: YAML: a key must be a plain word"},
    {"the file: sections missing", Nothing, "dataplane: {}\n",
     "1:1: key 'networks' is missing in the file\n"
     "1:1: key 'uplink' is missing in the file"},
    {"unknown key, misspelt", UplinkAndNetworks, "dataplan: {}",
     "2:1: unknown key 'dataplan' (did you mean 'dataplane'?)"},
    {"unknown key, near nothing", UplinkAndNetworks, "firewall: {}", "2:1: unknown key 'firewall'"},
    {"unknown key within an uplink", Networks,
     "uplink: {device: eth0, adress: 203.0.113.2/24, gateway: 203.0.113.1}\n",
     "1:9: key 'address' is missing in 'uplink'\n"
     "1:24: unknown key 'adress' (did you mean 'address'?)"},
    {"unknown key, shortened", Dhcp, "lease: 1h", "2:56: unknown key 'lease' (did you mean 'lease_time'?)"},
    {"unknown key in a port", Port, "name: p, vhost_user: /a, que: 1",
     "2:83: unknown key 'que' (did you mean 'queues'?)"},
    {"key given twice", UplinkAndNetworks, "conntrack: {sessions: 2048}\nconntrack: {sessions: 4096}",
     "3:1: key 'conntrack' is given twice"},
    {"section that is a word", UplinkAndNetworks, "dataplane: fast",
     "2:12: dataplane: must be a map (key: value), not 'fast'"},
    {"section that is a list", UplinkAndNetworks, "control: [a]",
     "2:10: control: must be a map (key: value), not a list"},
    {"list that is a word", Uplink, "networks: default\n", "2:11: networks: must be a list, not 'default'"},
    {"list element that is a word", Uplink, "networks: [default]\n",
     "2:12: networks[0]: must be a map (key: value), not 'default'"},
    {"list that is left empty", Uplink, "networks:\n", "2:1: networks: must be a list, not nothing"},
    {"no network", Uplink, "networks: []\n", "2:11: networks: at least one network is needed"},
    {"scalar that is a list", UplinkAndNetworks, "conntrack: {sessions: [1024]}",
     "2:23: sessions: must be a single value, not a list"},
    {"scalar that is left empty", UplinkAndNetworks, "conntrack: {sessions: }",
     "2:13: sessions: must be a single value, not nothing"},
};

constexpr Row kMachineRows[] = {
    {"workers: a number", UplinkAndNetworks, "dataplane: {workers: 2}",
     "2:22: workers: must be a list or 'auto', not '2'"},
    {"workers: none", UplinkAndNetworks, "dataplane: {workers: []}",
     "2:22: workers: at least one CPU is needed"},
    {"workers: twice the same CPU", UplinkAndNetworks, "dataplane: {workers: [1, 2, 1]}",
     "2:29: workers: CPU 1 is already used at line 2"},
    {"workers: no such CPU anywhere", UplinkAndNetworks, "dataplane: {workers: [4096]}",
     "2:23: workers: must be between 0 and 1023, not 4096"},
    {"workers: negative", UplinkAndNetworks, "dataplane: {workers: [-1]}",
     "2:23: workers: '-1' is not a whole number"},
    {"control_cpu: a worker's", UplinkAndNetworks, "dataplane: {workers: [1], control_cpu: 1}",
     "2:40: control_cpu: CPU 1 is a worker's"},
    {"memory: no unit", UplinkAndNetworks, "dataplane: {memory: 512}",
     "2:21: memory: '512' is not a size (write 512M or 2G)"},
    {"memory: too little", UplinkAndNetworks, "dataplane: {memory: 1M}",
     "2:21: memory: must be between 64M and 1T, not 1M"},
    {"memory: too much", UplinkAndNetworks, "dataplane: {memory: 9999999999999T}",
     "2:21: memory: '9999999999999T' is too much"},
    {"hugepages: unknown word", UplinkAndNetworks, "dataplane: {hugepages: maybe}",
     "2:24: hugepages: 'maybe' is not one of: auto, required, off"},
    {"idle: unknown word", UplinkAndNetworks, "dataplane: {idle: sleepy}",
     "2:19: idle: 'sleepy' is not one of: adaptive, poll"},
    {"eal: empty argument", UplinkAndNetworks, "dataplane: {eal: [\"\"]}", "2:19: eal: must not be empty"},
    {"conntrack: too few sessions", UplinkAndNetworks, "conntrack: {sessions: 1000}",
     "2:23: sessions: must be between 1024 and 268435456, not 1000"},
    {"conntrack: too many sessions", UplinkAndNetworks, "conntrack: {sessions: 99999999999999999999}",
     "2:23: sessions: '99999999999999999999' is not a whole number"},
    {"control: relative socket", UplinkAndNetworks, "control: {socket: vmnat.sock}",
     "2:19: socket: 'vmnat.sock' is not an absolute path"},
    {"control: an admin without a name", UplinkAndNetworks, "control: {admins: [\"\"]}",
     "2:20: admins: must not be empty"},
    {"control: metrics without a port", UplinkAndNetworks, "control: {metrics: 127.0.0.1}",
     "2:20: metrics: '127.0.0.1' is not an address with a port (write 192.168.122.10:80)"},
    {"control: metrics on no port", UplinkAndNetworks, "control: {metrics: 127.0.0.1:0}",
     "2:20: metrics: '127.0.0.1:0' is not an address with a port (write 192.168.122.10:80)"},
    {"control: relative state_dir", UplinkAndNetworks, "control: {state_dir: state}",
     "2:22: state_dir: 'state' is not an absolute path"},
};

constexpr Row kUplinkRows[] = {
    {"uplink: keys missing", Networks, "uplink: {mtu: 1500}\n",
     "1:9: key 'address' is missing in 'uplink'\n"
     "1:9: key 'device' is missing in 'uplink'"},
    {"uplink: two VLANs", Networks,
     "uplink: {device: {interface: eth0, vlan: 5}, vlan: 5, address: 203.0.113.2/24, gateway: 203.0.113.1}\n",
     "1:52: vlan: the uplink's device says one already"},
    {"uplink: VLAN 0", Networks,
     "uplink: {device: eth0, vlan: 0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n",
     "1:30: vlan: must be between 1 and 4094, not 0"},
    {"uplink: device too long for an interface", Networks,
     "uplink: {device: a-very-long-interface, address: 203.0.113.2/24, gateway: 203.0.113.1}\n",
     "1:18: device: 'a-very-long-interface' is not a device (a PCI address, a kernel interface of at most 15 "
     "characters, or DPDK devargs)"},
    {"uplink: address without prefix", Networks,
     "uplink: {device: eth0, address: 203.0.113.2, gateway: 203.0.113.1}\n",
     "1:33: address: '203.0.113.2' is not an address with its prefix length (write 192.168.122.1/24)"},
    {"uplink: address out of range", Networks,
     "uplink: {device: eth0, address: 203.0.113.256/24, gateway: 203.0.113.1}\n",
     "1:33: address: '203.0.113.256/24' is not an address with its prefix length (write 192.168.122.1/24)"},
    {"uplink: network address", Networks,
     "uplink: {device: eth0, address: 203.0.113.0/24, gateway: 203.0.113.1}\n",
     "1:33: address: 203.0.113.0 is the network address of 203.0.113.0/24"},
    {"uplink: broadcast address", Networks,
     "uplink: {device: eth0, address: 203.0.113.255/24, gateway: 203.0.113.1}\n",
     "1:33: address: 203.0.113.255 is the broadcast address of 203.0.113.0/24"},
    {"uplink: multicast address", Networks,
     "uplink: {device: eth0, address: 224.0.0.5/24, gateway: 203.0.113.1}\n",
     "1:33: address: '224.0.0.5' is a multicast address"},
    {"uplink: a /0", Networks, "uplink: {device: eth0, address: 203.0.113.2/0, gateway: 203.0.113.1}\n",
     "1:33: address: the prefix length of an uplink is between 1 and 32\n"
     "2:31: address: 192.168.122.1/24 overlaps the uplink's 203.0.113.2/0"},
    {"uplink: the gateway of a /32 is a VM network's", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/32, gateway: 192.168.122.7}\n",
     "2:31: address: 192.168.122.1/24 contains the uplink's gateway 192.168.122.7"},
    {"uplink: an address of protocols", Networks,
     "uplink: {device: eth0, address: 192.0.0.170/32, gateway: 203.0.113.1}\n",
     "1:33: address: '192.0.0.170' is not an address that a host can have"},
    {"network: link-local, and to be forwarded", Nothing,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\nnetworks: [{name: a, address: "
     "169.254.7.1/24, ports: [{name: v, device: tap0}]}]\n",
     "2:31: address: 169.254.7.1/24 is link-local, and nothing of it is ever forwarded (say forward: none)"},
    {"uplink: gateway missing", Networks, "uplink: {device: eth0, address: 203.0.113.2/24}\n",
     "1:9: key 'gateway' is missing in 'uplink'"},
    {"uplink: gateway elsewhere", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.114.1}\n",
     "1:58: gateway: 203.0.114.1 is not within the uplink's network 203.0.113.0/24"},
    {"uplink: gateway is itself", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.2}\n",
     "1:58: gateway: 203.0.113.2 is the uplink's own address"},
    {"uplink: gateway is the broadcast address", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.255}\n",
     "1:58: gateway: 203.0.113.255 is the broadcast address of 203.0.113.0/24"},
    {"uplink: gateway is no address", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: router}\n",
     "1:58: gateway: 'router' is not an IPv4 address (write 192.168.122.1)"},
    {"uplink: a forward of the DHCP client's port", Nothing,
     "uplink: {device: eth0, address: dhcp}\nnetworks: [{name: a, address: 192.168.122.1/24, nat: {forwards: "
     "[{protocol: udp, port: 68, to: 192.168.122.9:80}]}}]\n",
     "2:88: port: udp port 68 is the uplink's own, because its address is dhcp"},
    {"uplink: gateway beside DHCP", Networks, "uplink: {device: eth0, address: dhcp, gateway: 203.0.113.1}\n",
     "1:48: gateway: comes from DHCP, because address is dhcp"},
    {"uplink: group MAC", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, mac: 01:00:5e:00:00:01}\n",
     "1:76: mac: '01:00:5e:00:00:01' is a group (multicast or broadcast) MAC address"},
    {"uplink: short MAC", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, mac: 52:54:00:00:01}\n",
     "1:76: mac: '52:54:00:00:01' is not a MAC address (write 52:54:00:12:34:56)"},
    {"uplink: mtu too small", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, mtu: 67}\n",
     "1:76: mtu: must be between 68 and 65535, not 67"},
    {"uplink: mtu too large", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, mtu: 65536}\n",
     "1:76: mtu: must be between 68 and 65535, not 65536"},
    {"uplink: no queue", Networks,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, queues: 0}\n",
     "1:79: queues: must be between 1 and 64, not 0"},
};

constexpr Row kNetworkRows[] = {
    {"network: name and address missing", Uplink, "networks: [{mtu: 1500}]\n",
     "2:12: key 'address' is missing in 'networks[0]'\n"
     "2:12: key 'name' is missing in 'networks[0]'"},
    {"network: bad name", Uplink, "networks: [{name: my net, address: 192.168.122.1/24}]\n",
     "2:19: name: 'my net' is not a name (1 to 63 of letters, digits, '-', '_', '.', starting with a letter "
     "or digit)"},
    {"network: named uplink", Uplink, "networks: [{name: uplink, address: 192.168.122.1/24}]\n",
     "2:19: name: 'uplink' is the name of the uplink"},
    {"network: names twice", Uplink,
     "networks:\n- {name: a, address: 192.168.122.1/24}\n- {name: a, address: 192.168.5.1/24}\n",
     "4:10: name: network 'a' is already used at line 3"},
    {"network: overlapping", Uplink,
     "networks:\n- {name: a, address: 192.168.122.1/24}\n- {name: b, address: 192.168.122.129/25}\n",
     "4:22: address: 192.168.122.129/25 overlaps network 'a' (192.168.122.1/24)"},
    {"network: overlapping the uplink", Uplink, "networks: [{name: a, address: 203.0.113.129/25}]\n",
     "2:31: address: 203.0.113.129/25 overlaps the uplink's 203.0.113.2/24"},
    {"network: its network address", Uplink, "networks: [{name: a, address: 192.168.122.0/24}]\n",
     "2:31: address: 192.168.122.0 is the network address of 192.168.122.0/24"},
    {"network: its broadcast address", Uplink, "networks: [{name: a, address: 192.168.122.255/24}]\n",
     "2:31: address: 192.168.122.255 is the broadcast address of 192.168.122.0/24"},
    {"network: too small", Uplink, "networks: [{name: a, address: 192.168.122.1/31}]\n",
     "2:31: address: the prefix length of a network is between 8 and 30"},
    {"network: too large", Uplink, "networks: [{name: a, address: 10.0.0.1/7}]\n",
     "2:31: address: the prefix length of a network is between 8 and 30"},
    {"network: the uplink's MAC", Nothing,
     "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, mac: "
     "52:54:00:00:00:01}\nnetworks: [{name: a, address: 192.168.122.1/24, mac: 52:54:00:00:00:01}]\n",
     "2:54: mac: 52:54:00:00:00:01 is already used at line 1"},
    {"network: zero MAC", Network, "mac: 00:00:00:00:00:00",
     "2:54: mac: '00:00:00:00:00:00' is the zero MAC address"},
    {"network: mtu", Network, "mtu: 100000", "2:54: mtu: must be between 68 and 65535, not 100000"},
    {"network: unknown forward", Network, "forward: routed",
     "2:58: forward: 'routed' is not one of: nat, route, none"},
    {"network: routed, with nat", Network, "forward: route, nat: {}",
     "2:70: nat: this network is routed, and not translated (forward: route)"},
    {"network: isolated, with nat", Network, "forward: none, nat: {}",
     "2:69: nat: this network is isolated (forward: none)"},
    {"network: isolated_ports neither true nor false", Network, "isolated_ports: yes",
     "2:65: isolated_ports: 'yes' is not true or false"},
    {"dns: without the host", Network, "dns: {}, dhcp: {dns: gateway}",
     "2:54: dns: the gateway answers DNS only where this host is on the network (networks[].host)\n"
     "2:70: dns: the gateway answers DNS only where this host is on the network (networks[].host)"},
    {"dns: what dnsmasq could not be told", Network,
     "host: {interface: v0}, dns: {hosts: {a b: 192.168.122.9, c: 5}, txt: {e: 'a\"b'}, forwarders: "
     "[224.0.0.1, "
     "9.9.9.9:0], srv: [{service: ldap}]}",
     "2:86: hosts: 'a b' is not a domain name (write lab.example)\n"
     "2:109: c: '5' is not an IPv4 address (write 192.168.122.1)\n"
     "2:122: e: 'a\"b' is not a text record (1 to 255 printable ASCII characters, no double quote or "
     "backslash)\n"
     "2:143: forwarders: '224.0.0.1' is not a resolver (write 9.9.9.9, or 127.0.0.1:5353)\n"
     "2:154: forwarders: '9.9.9.9:0' is not a resolver (write 9.9.9.9, or 127.0.0.1:5353)\n"
     "2:172: key 'port' is missing in 'srv[0]'\n"
     "2:172: key 'target' is missing in 'srv[0]'"},
    {"dns: a name twice", Network,
     "host: {interface: v0}, dns: {hosts: {a: 192.168.122.9, b: 192.168.122.9, a: 192.168.122.8}}",
     "2:122: key 'a' is given twice"},
    {"host: no interface", Network, "host: {services: [tcp/22]}",
     "2:55: key 'interface' is missing in 'host'"},
    {"host: services that are none", Network,
     "host: {interface: v0, services: [22, sctp/22, tcp/0, udp/9-5, tcp/22-]}",
     "2:82: services: '22' is not a service (write tcp/22, or udp/5000-5100)\n"
     "2:86: services: 'sctp/22' is not a service (write tcp/22, or udp/5000-5100)\n"
     "2:95: services: '0' is not a port or a range of them (write 5060 or 5000-5100, within 1-65535)\n"
     "2:102: services: '9-5' is reversed: its end is before its start\n"
     "2:111: services: '22-' is not a port or a range of them (write 5060 or 5000-5100, within 1-65535)"},
    {"host: an interface that a port has, and the name of one", Network,
     "host: {interface: v0}, ports: [{name: v0, device: v1}, {name: p, device: v0}]",
     "2:87: name: port 'v0' is already used at line 2\n"
     "2:122: device: v0 is already used at line 2"},
};

constexpr Row kPortRows[] = {
    {"port: no name", Port, "vhost_user: /run/a", "2:57: key 'name' is missing in 'ports[0]'"},
    {"port: bad name", Port, "name: -a, vhost_user: /run/a",
     "2:64: name: '-a' is not a name (1 to 63 of letters, digits, '-', '_', '.', starting with a letter or "
     "digit)"},
    {"port: names twice over networks", Uplink,
     "networks:\n- {name: a, address: 192.168.122.1/24, ports: [{name: p, vhost_user: /a}]}\n- {name: b, "
     "address: 192.168.5.1/24, ports: [{name: p, vhost_user: /b}]}\n",
     "4:53: name: port 'p' is already used at line 3"},
    {"device: an unknown driver, and a queue", Port,
     "name: p, device: {interface: eth1, driver: af_xdp, queue: 5}",
     "2:101: driver: 'af_xdp' is not one of: auto, packet, xdp\n"
     "2:109: unknown key 'queue'"},
    {"device: a driver for nothing", Port, "name: p, device: {driver: xdp}",
     "2:75: key 'interface' is missing in 'device'"},
    {"device: a map for what is no kernel interface", Port, "name: p, device: {interface: net_af_xdp0}",
     "2:87: interface: 'net_af_xdp0' is not a kernel interface (a name of at most 15 characters, as `ip "
     "link` "
     "lists it)"},
    {"device: a PCI address in a map, and a name that is too long", Networks,
     "uplink: {device: {interface: 0000:3b:00.0}, address: 203.0.113.2/24, gateway: 203.0.113.1}\n",
     "1:30: interface: '0000:3b:00.0' is not a kernel interface (a name of at most 15 characters, as `ip "
     "link` "
     "lists it)"},
    {"device: a list", Port, "name: p, device: [eth1]", "2:75: device: must be a single value, not a list"},
    {"device: the uplink's, in a map", Port, "name: p, device: {interface: eth0, driver: xdp}",
     "2:75: device: eth0 is already used at line 1"},
    {"migrates_from: nobody, itself, a chain, a device, its own address, other queues", Network,
     "ports: [{name: p, vhost_user: /a, migrates_from: x},\n"
     "{name: q, vhost_user: /b, migrates_from: q},\n"
     "{name: r, vhost_user: /c, migrates_from: p},\n"
     "{name: s, device: tap0, migrates_from: t},\n"
     "{name: t, vhost_user: /d},\n"
     "{name: u, vhost_user: /e, migrates_from: t, address: 192.168.122.9},\n"
     "{name: v, vhost_user: /f, migrates_from: t, queues: 2},\n"
     "{name: w, vhost_user: /g, migrates_from: t},\n"
     "{name: y, vhost_user: /h, migrates_from: t, group: web}]",
     "2:98: migrates_from: 'x' is no port of network 'a'\n"
     "3:42: migrates_from: 'q' is this port itself\n"
     "4:42: migrates_from: 'p' has a VM of another port itself: name that one\n"
     "5:40: migrates_from: 't' and this port need vhost_user, both\n"
     "7:42: migrates_from: 't' has a VM whose mac and address are those of that port: leave them out here\n"
     "8:42: migrates_from: 't' has 1 queue: say as many here\n"
     "10:42: migrates_from: 't' has a VM whose group is that of that port: leave it out here"},
    {"rules: words and numbers that are none", Network,
     "rules: [{action: accept},\n"
     "{direction: inbound, action: allow},\n"
     "{direction: in, action: accept, protocol: sctp, local_port: 22},\n"
     "{direction: in, action: drop, protocol: tcp, local_port: 0-5},\n"
     "{direction: in, action: drop, protocol: icmp, icmp_type: 256},\n"
     "{direction: in, action: drop, remote: 10.0.0.1/8},\n"
     "{direction: in, action: drop, remote: host},\n"
     "{direction: in, action: drop, remote: 'port:'},\n"
     "{direction: in, action: drop, source: any}]",
     "2:57: key 'direction' is missing in 'rules[0]'\n"
     "3:13: direction: 'inbound' is not one of: in, out\n"
     "3:30: action: 'allow' is not one of: accept, drop, reject\n"
     "4:43: protocol: 'sctp' is not a protocol (tcp, udp, icmp or a number up to 255)\n"
     "5:58: local_port: '0-5' is not a port or a range of them (write 5060 or 5000-5100, within 1-65535)\n"
     "6:58: icmp_type: must be between 0 and 255, not 256\n"
     "7:39: remote: '10.0.0.1/8' has bits set beyond its prefix length (did you mean 10.0.0.0/8?)\n"
     "8:39: remote: 'host' is not a remote (write 198.51.100.0/24, 198.51.100.7, port:NAME or network:NAME)\n"
     "9:39: remote: '' is not a name (1 to 63 of letters, digits, '-', '_', '.', starting with a letter or "
     "digit)\n"
     "10:31: unknown key 'source'"},
    {"rules: what is not of the protocol, and who is not there", Network,
     "ports: [{name: p, vhost_user: /a, rules: [\n"
     "{direction: in, action: drop, local_port: 22},\n"
     "{direction: in, action: drop, protocol: icmp, remote_port: 22},\n"
     "{direction: in, action: drop, protocol: tcp, icmp_type: 8},\n"
     "{direction: in, action: drop, remote: 'port:q'},\n"
     "{direction: in, action: drop, remote: 'network:b'},\n"
     "{direction: in, action: drop, remote: 'port:p'}, {direction: in, action: drop, remote: "
     "'network:a'}]},\n"
     "{name: x, vhost_user: /b, migrates_from: p, rules: [{direction: in, action: drop}]}]",
     "3:43: local_port: needs protocol: tcp or udp\n"
     "4:60: remote_port: needs protocol: tcp or udp\n"
     "5:57: icmp_type: needs protocol: icmp\n"
     "6:39: remote: 'q' is no port of network 'a'\n"
     "7:39: remote: there is no network 'b'\n"
     "9:42: migrates_from: 'p' has a VM whose rules are those of that port: leave them out here"},
    {"port: a group without a name", Port, "name: p, vhost_user: /a, group: ''",
     "2:90: group: '' is not a name (1 to 63 of letters, digits, '-', '_', '.', starting with a letter or "
     "digit)"},
    {"port: neither socket nor device", Port, "name: p",
     "2:57: a port needs vhost_user (a socket) or device"},
    {"port: both socket and device", Port, "name: p, vhost_user: /a, device: veth0",
     "2:57: a port has vhost_user or device, not both"},
    {"port: a socket beside the directory", Port, "name: p, vhost_user: lab/../../a",
     "2:79: vhost_user: 'lab/../../a' is not a socket's path: absolute, or within vhost_user.directory"},
    {"port: one socket, written in two ways", Network,
     "ports: [{name: p, vhost_user: a}, {name: q, vhost_user: /run/vmnat/a}]",
     "2:105: vhost_user: socket /run/vmnat/a is already used at line 2"},
    {"port: a VLAN that there is not", Port, "name: p, device: {interface: veth0, vlan: 4095}",
     "2:100: vlan: must be between 1 and 4094, not 4095"},
    {"port: a VLAN of an interface that another port has whole by AF_XDP", Port,
     "name: p, device: {interface: veth0, driver: xdp, vlan: 5}}, "
     "{name: q, device: {interface: veth0, driver: xdp, vlan: 6}",
     "2:136: device: veth0 is already used at line 2"},
    {"port: one VLAN twice", Port,
     "name: p, device: {interface: veth0, vlan: 5}}, {name: q, device: {interface: veth0, vlan: 5}",
     "2:123: device: veth0 VLAN 5 is already used at line 2"},
    {"port: one VLAN of a NIC twice, written in two ways", Port,
     "name: p, device: 0000:3b:00.0, vlan: 5}, {name: q, device: 3b:00.0, vlan: 5",
     "2:117: device: 0000:3b:00.0 VLAN 5 is already used at line 2"},
    {"port: a device of DPDK's twice", Port, "name: p, device: net_tap0}, {name: q, device: net_tap0",
     "2:104: device: net_tap0 is already used at line 2"},
    {"port: all of a device of which another one is a VLAN", Port,
     "name: p, device: net_tap0, vlan: 5}, {name: q, device: net_tap0",
     "2:113: device: net_tap0 is already used at line 2: ports that share it need a vlan each"},
    {"port: a VLAN of a device that another one has whole", Port,
     "name: p, device: net_tap0}, {name: q, device: net_tap0, vlan: 5",
     "2:104: device: net_tap0 is already used at line 2: ports that share it need a vlan each"},
    {"port: VLANs of a device with two kinds of arguments", Port,
     "name: p, device: 'net_tap0,iface=a', vlan: 5}, {name: q, device: 'net_tap0,iface=b', vlan: 6",
     "2:123: device: net_tap0 is already used at line 2 with other arguments"},
    {"port: several queues of a device that is shared", Port,
     "name: p, device: net_tap0, vlan: 5, queues: 2}, {name: q, device: net_tap0, vlan: 6}, {name: r, "
     "device: net_tap0, vlan: 7",
     "2:102: queues: ports that share net_tap0 have one each"},
    {"port: two VLANs", Port, "name: p, device: {interface: veth0, vlan: 5}, vlan: 6",
     "2:110: vlan: the port's device says one already"},
    {"port: a VLAN of a socket", Port, "name: p, vhost_user: /a, vlan: 5", "2:89: vlan: is for device ports"},
    {"port: access to a device", Port, "name: p, device: veth0, access: {group: kvm}",
     "2:90: access: is for vhost_user ports"},
    {"port: features of a device", Port, "name: p, device: veth0, features: {without: [mq]}",
     "2:92: features: are for vhost_user ports"},
    {"port: a feature that virtio does not have", Port,
     "name: p, vhost_user: a, features: {without: [turbo]}",
     "2:103: without: 'turbo' is not one of: csum, guest_csum, mtu, gso, guest_tso4, guest_tso6, guest_ecn, "
     "host_tso4, "
     "host_tso6, host_ecn, mrg_rxbuf, ctrl_vq, ctrl_rx, ctrl_vlan, ctrl_rx_extra, guest_announce, mq, "
     "ctrl_mac_addr, "
     "indirect_desc, event_idx, version_1, iommu_platform, packed, in_order"},
    {"port: access by no mode", Port, "name: p, vhost_user: a, access: {mode: rw}",
     "2:97: mode: 'rw' is not a mode of three octal digits, such as \"0770\""},
    {"vhost_user: a mode with more than rights", UplinkAndNetworks, "vhost_user: {mode: \"1770\"}",
     "2:20: mode: '1770' is not a mode of three octal digits, such as \"0770\""},
    {"vhost_user: a directory that others use", UplinkAndNetworks,
     "vhost_user: {directory: /var/../var/tmp/}",
     "2:25: directory: /var/tmp is not for sockets alone: name one within it"},
    {"vhost_user: a directory at the top", UplinkAndNetworks, "vhost_user: {directory: /run}",
     "2:25: directory: /run is not for sockets alone: name one within it"},
    {"vhost_user: the root", UplinkAndNetworks, "vhost_user: {directory: /}",
     "2:25: directory: / is not for sockets alone: name one within it"},
    {"port: socket path too long", Port,
     "name: p, vhost_user: "
     "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxx",
     "2:79: vhost_user: the path of a socket has at most 107 characters, this one has 108"},
    {"port: the same socket twice", Network, "ports: [{name: p, vhost_user: /a}, {name: q, vhost_user: /a}]",
     "2:106: vhost_user: socket /a is already used at line 2"},
    {"port: the control socket", Port, "name: p, vhost_user: /run/vmnat/vmnat.sock",
     "2:79: vhost_user: /run/vmnat/vmnat.sock is the control socket"},
    {"port: the uplink's device", Port, "name: p, device: eth0",
     "2:75: device: eth0 is already used at line 1"},
    {"port: mode of a device", Port, "name: p, device: veth0, mode: server",
     "2:88: mode: is for vhost_user ports"},
    {"port: unknown mode", Port, "name: p, vhost_user: /a, mode: both",
     "2:89: mode: 'both' is not one of: client, server"},
    {"port: no such guard", Port, "name: p, vhost_user: /a, guard: strict",
     "2:90: guard: 'strict' is not one of: on, off"},
    {"port: neither relay nor not", Port, "name: p, vhost_user: /a, relay: some",
     "2:90: relay: 'some' is not true or false"},
    {"port: an address that no VM can have", Port, "name: p, vhost_user: /a, address: 192.168.122.1",
     "2:92: address: 192.168.122.1 is the gateway's address"},
    {"port: an address of elsewhere", Port, "name: p, vhost_user: /a, address: 192.168.5.7",
     "2:92: address: 192.168.5.7 is not within 192.168.122.0/24"},
    {"port: one address, two ports", Network,
     "ports: [{name: p, vhost_user: /a, address: 192.168.122.7}, {name: q, vhost_user: /b, address: "
     "192.168.122.7}]",
     "2:143: ports: address 192.168.122.7 is already used at line 2"},
    {"port: one MAC, two ports", Network,
     "ports: [{name: p, vhost_user: /a, mac: 52:54:00:aa:00:01}, {name: q, vhost_user: /b, mac: "
     "52:54:00:aa:00:01}]",
     "2:139: ports: mac 52:54:00:aa:00:01 is already used at line 2"},
    {"port: an address that is reserved for another", Network,
     "ports: [{name: p, vhost_user: /a, address: 192.168.122.7}],\n  dhcp: {reservations: [{mac: "
     "52:54:00:aa:00:01, address: 192.168.122.7}]}",
     "3:59: address: 192.168.122.7 is that of port 'p', which is reserved already"},
    {"port: no queue", Port, "name: p, vhost_user: /a, queues: 0",
     "2:91: queues: must be between 1 and 64, not 0"},
};

constexpr Row kDhcpRows[] = {
    {"dhcp: range outside", Dhcp, "ranges: [192.168.123.2-192.168.123.9]",
     "2:65: ranges: 192.168.123.2-192.168.123.9 is not within 192.168.122.0/24"},
    {"dhcp: range partly outside", Dhcp, "ranges: [192.168.122.250-192.168.123.9]",
     "2:65: ranges: 192.168.122.250-192.168.123.9 is not within 192.168.122.0/24"},
    {"dhcp: range reversed", Dhcp, "ranges: [192.168.122.9-192.168.122.2]",
     "2:65: ranges: '192.168.122.9-192.168.122.2' is reversed: its end is before its start"},
    {"dhcp: range up to the broadcast address", Dhcp, "ranges: [192.168.122.2-192.168.122.255]",
     "2:65: ranges: 192.168.122.2-192.168.122.255 includes the network or broadcast address of "
     "192.168.122.0/24"},
    {"dhcp: range of the gateway alone", Dhcp, "ranges: [192.168.122.1]",
     "2:65: ranges: 192.168.122.1 is only the gateway's address"},
    {"dhcp: ranges overlapping", Dhcp, "ranges: [192.168.122.2-192.168.122.9, 192.168.122.9-192.168.122.12]",
     "2:94: ranges: 192.168.122.9-192.168.122.12 overlaps 192.168.122.2-192.168.122.9"},
    {"dhcp: range of words", Dhcp, "ranges: [most]",
     "2:65: ranges: 'most' is not an address or a range of them (write 192.0.2.5 or 192.0.2.5-192.0.2.9)"},
    {"dhcp: lease without a unit", Dhcp, "lease_time: 3600",
     "2:68: lease_time: '3600' is not a lease time (write 30m, 12h, 7d or infinite)"},
    {"dhcp: lease too short", Dhcp, "lease_time: 119s",
     "2:68: lease_time: '119s' is too short: a lease lasts 2m or more"},
    {"dhcp: lease too long", Dhcp, "lease_time: 50000d",
     "2:68: lease_time: '50000d' is too long (write infinite)"},
    {"dhcp: resolver on the loopback", Dhcp, "dns: [127.0.0.53]",
     "2:62: dns: '127.0.0.53' is a loopback address"},
    {"dhcp: the gateway as resolver", Dhcp, "dns: [192.168.122.1]",
     "2:62: dns: 192.168.122.1 is the gateway, which offers no such service"},
    {"dhcp: bad domain", Dhcp, "domain: lab..example",
     "2:64: domain: 'lab..example' is not a domain name (write lab.example)"},
    {"dhcp: reservation outside", Dhcp, "reservations: [{mac: 52:54:00:aa:00:01, address: 10.0.0.1}]",
     "2:105: address: 10.0.0.1 is not within 192.168.122.0/24"},
    {"dhcp: reservation of the gateway's address", Dhcp,
     "reservations: [{mac: 52:54:00:aa:00:01, address: 192.168.122.1}]",
     "2:105: address: 192.168.122.1 is the gateway's address"},
    {"dhcp: reservations that are the same", Dhcp,
     "reservations:\n  [{mac: 52:54:00:aa:00:01, address: 192.168.122.9, hostname: w},\n  {mac: "
     "52:54:00:aa:00:01, address: 192.168.122.9, hostname: w}]",
     "4:9: reservations: mac 52:54:00:aa:00:01 is already used at line 3\n"
     "4:37: reservations: address 192.168.122.9 is already used at line 3\n"
     "4:62: reservations: hostname 'w' is already used at line 3"},
    {"dhcp: reservation for a port that is not there", Dhcp,
     "reservations: [{port: vm9, address: 192.168.122.9}]", "2:78: port: network 'a' has no port 'vm9'"},
    {"dhcp: two files for one architecture", Dhcp,
     "boot: {server: 192.168.122.9, file: a, by_arch: [{arch: 7, file: b}, {arch: 7, file: c}]}",
     "2:132: boot: arch 7 is already used at line 2"},
    {"dhcp: a boot file that fits into no option", Dhcp,
     "boot: {server: 192.168.122.9, file: a, ipxe: "
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "}",
     "2:101: ipxe: a boot file's name has at most 255 bytes, this one has 256"},
    {"dhcp: identity of a sort that is not", Dhcp, "identity: hostname",
     "2:66: identity: 'hostname' is not one of: mac, port, client-id"},
    {"dhcp: one file for two exports", Dhcp, "exports: {dnsmasq: /run/x, libvirt: /run/x}",
     "2:92: exports: file /run/x is already used at line 2"},
    {"dhcp: reservation without a MAC", Dhcp, "reservations: [{address: 192.168.122.9}]",
     "2:71: a reservation is for exactly one of mac and port"},
    {"dhcp: bad hostname", Dhcp,
     "reservations: [{mac: 52:54:00:aa:00:01, address: 192.168.122.9, hostname: a_b}]",
     "2:130: hostname: 'a_b' is not a host name (1 to 63 of letters, digits and '-')"},
    {"dhcp: route with host bits", Dhcp, "routes: [{to: 10.0.0.1/8, via: 192.168.122.5}]",
     "2:70: to: '10.0.0.1/8' has bits set beyond its prefix length (did you mean 10.0.0.0/8?)"},
    {"dhcp: route by a stranger", Dhcp, "routes: [{to: 10.0.0.0/8, via: 192.168.5.5}]",
     "2:87: via: 192.168.5.5 is not within 192.168.122.0/24"},
    {"dhcp: option code", Dhcp, "options: [{code: 255, text: a}]",
     "2:73: code: must be between 1 and 254, not 255"},
    {"dhcp: option twice in form", Dhcp, "options: [{code: 224, text: a, hex: \"00\"}]",
     "2:66: an option has exactly one of text and hex"},
    {"dhcp: option without a value", Dhcp, "options: [{code: 224}]",
     "2:66: an option has exactly one of text and hex"},
    {"dhcp: option with odd hex", Dhcp, "options: [{code: 224, hex: \"0a0\"}]",
     "2:83: hex: '0a0' is not hexadecimal bytes (write 0a0b)"},
    {"dhcp: option that has a key", Dhcp, "options: [{code: 6, hex: \"01020304\"}]",
     "2:73: code: option 6 is decided by dhcp.dns"},
};

constexpr Row kNatRows[] = {
    {"nat: ports below 1024", Nat, "ports: 1000-2000",
     "2:62: ports: '1000-2000' goes below 1024: those ports are never given to VMs"},
    {"nat: ports reversed", Nat, "ports: 3000-2000",
     "2:62: ports: '3000-2000' is reversed: its end is before its start"},
    {"nat: ports too high", Nat, "ports: 1024-65536",
     "2:62: ports: '1024-65536' is not a port or a range of them (write 5060 or 5000-5100, within 1-65535)"},
    {"nat: reserved ports outside", Nat, "ports: 2000-3000, reserved_ports: [1999]",
     "2:90: reserved_ports: 1999 is not within ports 2000-3000"},
    {"nat: what drains is not the network's", Nat,
     "addresses: [203.0.113.8-203.0.113.9], drain: [203.0.113.9-203.0.113.10]",
     "2:101: drain: 203.0.113.9-203.0.113.10 is not among the addresses of this network"},
    {"nat: all ports reserved", Nat, "ports: 2000-3000, reserved_ports: [2000-2500, 2501-3000]",
     "2:89: reserved_ports: no port of 2000-3000 is left"},
    {"nat: no address", Nat, "addresses: []", "2:66: addresses: at least one is needed (or 'uplink')"},
    {"nat: address range reversed", Nat, "addresses: [203.0.113.9-203.0.113.5]",
     "2:67: addresses: '203.0.113.9-203.0.113.5' is reversed: its end is before its start"},
    {"nat: addresses overlapping", Nat, "addresses: [203.0.113.5-203.0.113.9, 203.0.113.7]",
     "2:92: addresses: 203.0.113.7 overlaps 203.0.113.5-203.0.113.9"},
    {"nat: address of an inside network", Nat, "addresses: [192.168.122.77]",
     "2:67: addresses: 192.168.122.77 overlaps network 'a' (192.168.122.1/24)"},
    {"nat: the uplink's gateway among the addresses", Nat, "addresses: [203.0.113.1-203.0.113.4]",
     "2:67: addresses: 203.0.113.1-203.0.113.4 includes the uplink's gateway 203.0.113.1"},
    {"nat: the uplink's broadcast address among the addresses", Nat,
     "addresses: [203.0.113.250-203.0.113.255]",
     "2:67: addresses: 203.0.113.250-203.0.113.255 includes 203.0.113.255, the network or broadcast address "
     "of the uplink"},
    {"nat: too many addresses", Nat, "addresses: [100.64.0.0-100.65.0.0]",
     "2:66: addresses: at most 4096 are possible, these are 65537"},
    {"nat: too many addresses of two networks together", Uplink,
     "networks:\n- {name: a, address: 192.168.122.1/24, nat: {addresses: [100.64.0.0-100.64.15.254]}}\n- "
     "{name: "
     "b, address: 192.168.5.1/24, nat: {addresses: [100.64.15.250-100.64.16.255]}}\n",
     "4:55: addresses: at most 4096 are possible for all networks and the uplink, with these it is 4353"},
    {"nat: ports of two networks on one address that have none in common", Uplink,
     "networks:\n- {name: a, address: 192.168.122.1/24, nat: {addresses: [203.0.113.9-203.0.113.12], ports: "
     "1024-29999}}\n- {name: b, address: 192.168.5.1/24, nat: {addresses: [203.0.113.10], ports: "
     "30000-65535}}\n",
     "4:78: ports: 30000-65535 and the 1024-29999 of network 'a' have none in common, but an external "
     "address: "
     "give one of them another"},
    {"nat: ports of two networks on the uplink's address that have none in common", Uplink,
     "networks:\n- {name: a, address: 192.168.122.1/24, nat: {ports: 1024-29999}}\n- {name: b, address: "
     "192.168.5.1/24, nat: {ports: 30000-65535}}\n",
     "4:51: ports: 30000-65535 and the 1024-29999 of network 'a' have none in common, but an external "
     "address: "
     "give one of them another"},
    {"nat: unknown mapping", Nat, "mapping: cone",
     "2:64: mapping: 'cone' is not one of: endpoint-independent, endpoint-dependent"},
    {"nat: unknown filtering", Nat, "filtering: open",
     "2:66: filtering: 'open' is not one of: address-and-port-dependent, address-dependent, "
     "endpoint-independent"},
    {"nat: timeout of nothing", Nat, "timeouts: {udp: 0s}", "2:71: udp: '0s' is not between 1s and 30d"},
    {"nat: timeout with units reversed", Nat, "timeouts: {udp: 4m2h}",
     "2:71: udp: '4m2h' is not a duration (write 90s, 5m, 2h4m or 1d)"},
    {"nat: negative limit", Nat, "limits: {sessions_per_port: -1}",
     "2:83: sessions_per_port: '-1' is not a whole number"},
    {"nat: an MSS that is too small", Nat, "mss_clamp: 100",
     "2:66: mss_clamp: must be between 536 and 65495, not 100"},
    {"nat: an MSS that is no number", Nat, "mss_clamp: big", "2:66: mss_clamp: 'big' is not a whole number"},
    {"nat: no such way with mid-stream", Nat, "tcp_mid_stream: loose",
     "2:71: tcp_mid_stream: 'loose' is not one of: reset, drop, pick-up"},
    {"nat: no such answer to exhaustion", Nat, "exhaustion_icmp: none",
     "2:72: exhaustion_icmp: 'none' is not one of: admin-prohibited, host-unreachable, off"},
    {"nat: a static address of nobody", Nat, "static: [{internal: 192.168.5.9, external: 203.0.113.20}]",
     "2:75: internal: 192.168.5.9 is not within network 'a' (192.168.122.1/24)"},
    {"nat: a static address of the gateway", Nat,
     "static: [{internal: 192.168.122.1, external: 203.0.113.20}]",
     "2:75: internal: 192.168.122.1 is the gateway's address"},
    {"nat: a static address of the network", Nat,
     "static: [{internal: 192.168.122.255, external: 203.0.113.20}]",
     "2:75: internal: 192.168.122.255 is the broadcast address of 192.168.122.0/24"},
    {"nat: static, and in the pool", Nat,
     "addresses: [203.0.113.16-203.0.113.23],\n  static: [{internal: 192.168.122.9, external: 203.0.113.20}]",
     "3:48: external: 203.0.113.20 is in a pool at line 2: take it out there"},
    {"nat: static, and the uplink's", Nat, "static: [{internal: 192.168.122.9, external: 203.0.113.2}]",
     "2:100: external: 203.0.113.2 is the uplink's own address, which the gateway needs"},
    {"nat: static, and the router's", Nat, "static: [{internal: 192.168.122.9, external: 203.0.113.1}]",
     "2:100: external: 203.0.113.1 is the uplink's gateway"},
    {"nat: static, and no host's", Nat, "static: [{internal: 192.168.122.9, external: 203.0.113.255}]",
     "2:100: external: 203.0.113.255 is the network or broadcast address of the uplink"},
    {"nat: static, and inside", Nat, "static: [{internal: 192.168.122.9, external: 192.168.122.10}]",
     "2:100: external: 192.168.122.10 is within network 'a' (192.168.122.1/24)"},
    {"nat: static twice", Nat,
     "static:\n  [{internal: 192.168.122.9, external: 203.0.113.20},\n  {internal: 192.168.122.9, external: "
     "203.0.113.20}]",
     "4:14: static: internal 192.168.122.9 is already used at line 3\n"
     "4:39: static: external 203.0.113.20 is already used at line 3"},
    {"nat: static without its half", Nat, "static: [{internal: 192.168.122.9}]",
     "2:64: key 'external' is missing in 'static[0]'"},
    {"nat: a forward at a static address", Nat,
     "static: [{internal: 192.168.122.9, external: 203.0.113.20}],\n  forwards: [{protocol: tcp, address: "
     "203.0.113.20, port: 80, to: 192.168.122.10:80}]",
     "3:39: address: 203.0.113.20 is not an external address of this network"},
    {"nat: a static address that a rule has", Nat,
     "static: [{internal: 192.168.122.9, external: 203.0.113.20}],\n  rules: [{addresses: [203.0.113.20]}]",
     "2:100: external: 203.0.113.20 is in a pool at line 3: take it out there"},
    {"nat: a rule without addresses", Nat, "rules: [{from: 192.168.122.9}]",
     "2:63: key 'addresses' is missing in 'rules[0]'"},
    {"nat: a rule with no addresses", Nat, "rules: [{addresses: []}]",
     "2:75: addresses: at least one is needed (or 'none')"},
    {"nat: a rule of others' addresses", Nat, "rules: [{from: 192.168.5.0/24, addresses: none}]",
     "2:70: from: 192.168.5.0/24 has no address of network 'a' (192.168.122.1/24)"},
    {"nat: a rule with half a prefix", Nat, "rules: [{to: 10.0.0.1/8, addresses: none}]",
     "2:68: to: '10.0.0.1/8' has bits set beyond its prefix length (did you mean 10.0.0.0/8?)"},
    {"nat: a rule to nowhere", Nat, "rules: [{to: everywhere, addresses: none}]",
     "2:68: to: 'everywhere' is not an address or a block of them (write 192.0.2.5 or 10.0.0.0/8)"},
    {"nat: a rule with a part of the pool", Nat,
     "addresses: [203.0.113.8-203.0.113.9],\n  rules: [{addresses: [203.0.113.9]}]",
     "3:24: addresses: 203.0.113.9 is in another pool of this network, too, at line 2: a rule has all "
     "addresses of it, "
     "or none"},
    {"nat: rules with a part of each other", Nat,
     "rules: [{addresses: [203.0.113.8]},\n  {addresses: [203.0.113.8, 203.0.113.9]}]",
     "3:16: addresses: 203.0.113.8 is in another pool of this network, too, at line 2: a rule has all "
     "addresses of it, "
     "or none"},
    {"nat: a rule with the uplink's and more", Nat, "rules: [{addresses: [203.0.113.2, 203.0.113.9]}]",
     "2:76: addresses: 203.0.113.2 is in another pool of this network, too: a rule has all addresses of it, "
     "or none"},
    {"nat: a rule with the router", Nat, "rules: [{addresses: [203.0.113.1]}]",
     "2:76: addresses: 203.0.113.1 includes the uplink's gateway 203.0.113.1"},
    {"nat: forwards that clash", Nat,
     "forwards:\n  [{protocol: tcp, port: 80, to: 192.168.122.9:80},\n  {protocol: tcp, address: "
     "203.0.113.2, port: 80, to: 192.168.122.10:80}]",
     "4:47: port: tcp port 80 is already forwarded at line 3"},
    {"nat: forward to elsewhere", Nat, "forwards: [{protocol: udp, port: 53, to: 192.168.5.9:53}]",
     "2:96: to: 192.168.5.9 is not within network 'a' (192.168.122.1/24)"},
    {"nat: forward to the gateway", Nat, "forwards: [{protocol: udp, port: 53, to: 192.168.122.1:53}]",
     "2:96: to: 192.168.122.1 is the gateway's address"},
    {"nat: forwards to elsewhere, twice and nowhere", Nat,
     "forwards: [{protocol: udp, port: 53, to: ['192.168.122.9:53', '192.168.5.9:53',\n  '192.168.122.9:53', "
     "x]}]",
     "2:117: to: 192.168.5.9 is not within network 'a' (192.168.122.1/24)\n"
     "3:3: to: 192.168.122.9:53 is already used at line 2\n"
     "3:23: to: 'x' is not an address with a port (write 192.168.122.10:80)"},
    {"nat: a forward to no VM", Nat, "forwards: [{protocol: udp, port: 53, to: []}]",
     "2:96: to: at least one VM is needed"},
    {"nat: a range that ends beyond the last port", Nat,
     "forwards: [{protocol: udp, port: 1000-1999, to: 192.168.122.9:65000}]",
     "2:103: to: 192.168.122.9:65000 is too high for the 1000 ports of the range"},
    {"nat: ranges that clash", Nat,
     "forwards:\n  [{protocol: tcp, port: 80-89, to: 192.168.122.9:80},\n  {protocol: tcp, port: 85, to: "
     "192.168.122.10:80},\n  {protocol: tcp, port: 70-80, to: 192.168.122.10:80},\n  {protocol: udp, port: "
     "80-89, to: "
     "192.168.122.10:80}]",
     "4:25: port: tcp port 85 is already forwarded at line 3\n"
     "5:25: port: tcp port 70-80 is already forwarded at line 3"},
    {"nat: forwards for the same remotes", Nat,
     "forwards:\n  [{protocol: tcp, port: 22, from: 198.51.100.0/24, to: 192.168.122.9:22},\n  {protocol: "
     "tcp, port: 22, "
     "from: 198.51.100.0/25, to: 192.168.122.9:22},\n  {protocol: tcp, port: 22, from: 198.51.100.0/24, to: "
     "192.168.122.10:22}]",
     "5:25: port: tcp port 22 is already forwarded at line 3"},
    {"nat: more forwards than there is room for", Nat,
     "addresses: [203.0.113.8-203.0.113.9],\n  forwards: [{protocol: udp, port: 1-32768, to: "
     "192.168.122.9:1},\n  "
     "{protocol: tcp, port: 80, to: 192.168.122.9:80}]",
     "4:25: port: at most 65536 ports can be forwarded, each external address counted; with these it is "
     "65538"},
    {"nat: forward of another protocol", Nat, "forwards: [{protocol: sctp, port: 53, to: 192.168.122.9:53}]",
     "2:77: protocol: 'sctp' is not one of: tcp, udp"},
    {"nat: forward without a port", Nat, "forwards: [{protocol: tcp, to: 192.168.122.9}]",
     "2:66: key 'port' is missing in 'forwards[0]'\n"
     "2:86: to: '192.168.122.9' is not an address with a port (write 192.168.122.10:80)"},
    {"nat: forward on a foreign address", Nat,
     "forwards: [{protocol: tcp, address: 203.0.113.77, port: 80, to: 192.168.122.9:80}]",
     "2:91: address: 203.0.113.77 is not an external address of this network"},
};

class BadConfig : public testing::TestWithParam<Row> {};

TEST_P(BadConfig, IsRefusedWithExactlyTheseLines) {
  const auto loaded = load_text(text_of(GetParam()));
  EXPECT_FALSE(loaded.has_value()) << GetParam().says;
  std::string lines;
  for (const std::string& line : problems_of(loaded)) lines += (lines.empty() ? "" : "\n") + line;
  EXPECT_EQ(lines, GetParam().problems) << GetParam().says << "\n" << text_of(GetParam());
}

// `device` with the port's number in the place of {}.
auto with_ports(unsigned count, const std::string& device) {
  std::string text = kUplink + "networks:\n  - name: a\n    address: 192.168.0.1/16\n    ports:\n";
  for (unsigned i = 1; i <= count; ++i)
    text += fmt::format("      - {{name: vm{}, {}}}\n", i, fmt::format(fmt::runtime(device), i));
  return load_text(text);
}

// The uplink is a kernel interface.
TEST(BadConfigPorts, MoreOfDpdksThanItHasRoomForAreRefusedAtTheFirstTooMany) {
  const std::string device = R"(device: "net_null{}")";
  EXPECT_TRUE(with_ports(VMNAT_MOST_PORTS, device).has_value());
  EXPECT_EQ(
      problems_of(with_ports(VMNAT_MOST_PORTS + 2, device)),
      std::vector{fmt::format("{}:16: ports: DPDK has room for {} devices, not counting sockets and kernel "
                              "interfaces; this one is too many",
                              6 + VMNAT_MOST_PORTS, VMNAT_MOST_PORTS)});
}

TEST(BadConfigPorts, OfSocketsAndInterfacesThereMayBeAsManyAsThereAreNumbers) {
  for (const std::string device : {"device: veth{}", "vhost_user: /run/{}.sock"}) {
    EXPECT_TRUE(with_ports(kMostPorts - 1, device).has_value()) << device;
    EXPECT_EQ(problems_of(with_ports(kMostPorts + 1, device)),
              std::vector{
                  fmt::format("{}:16: ports: there is room for 1023; this one is too many", 5 + kMostPorts)});
  }
}

TEST(BadConfigPorts, NetworksMayBeAsManyAsThereAreNumbers) {
  const auto with_networks = [](unsigned count) {
    std::string text = kUplink + "networks:\n";
    for (unsigned i = 0; i < count; ++i)
      text += fmt::format("  - {{name: n{0}, address: 10.{1}.{2}.1/24}}\n", i, i / 256, i % 256);
    return load_text(text);
  };
  EXPECT_TRUE(with_networks(kMostNetworks).has_value());
  EXPECT_EQ(problems_of(with_networks(kMostNetworks + 1)).size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Limit, BadConfig, testing::ValuesIn(kLimitRows));
INSTANTIATE_TEST_SUITE_P(File, BadConfig, testing::ValuesIn(kFileRows));
INSTANTIATE_TEST_SUITE_P(Machine, BadConfig, testing::ValuesIn(kMachineRows));
INSTANTIATE_TEST_SUITE_P(Uplink, BadConfig, testing::ValuesIn(kUplinkRows));
INSTANTIATE_TEST_SUITE_P(Network, BadConfig, testing::ValuesIn(kNetworkRows));
INSTANTIATE_TEST_SUITE_P(Port, BadConfig, testing::ValuesIn(kPortRows));
INSTANTIATE_TEST_SUITE_P(Dhcp, BadConfig, testing::ValuesIn(kDhcpRows));
INSTANTIATE_TEST_SUITE_P(Nat, BadConfig, testing::ValuesIn(kNatRows));

}  // namespace
}  // namespace vmnat::config
