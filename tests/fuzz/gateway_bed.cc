// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/gateway_bed.h"

#include "tests/fuzz/driver.h"
#include "tests/support/rule_builder.h"

namespace vmnat::fuzz {
namespace {

using dataplane::Forward;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using namespace test;

constexpr const char* kRemote = "198.51.100.2";

net::Endpoint endpoint(const char* address, std::uint16_t port) {
  return {net::parse_ipv4(address).value(), net::L4Port::from_host(port)};
}

void make_known(Testbed& bed) {
  for (std::uint8_t number = 1; number <= 5; ++number) bed.learn(number, vm_mac(number));
  bed.change_state([](ForwardingState& state) {
    state.ports[kVm1].offloads = {.checksums = true, .tcp4_segments = true};
    const auto word = [](std::uint16_t port, net::Protocol protocol) {
      return ForwardingState::forward_word(endpoint(kExternal, port), protocol);
    };
    state.forwards =
        WordTable<Forward>({{word(8080, net::Protocol::Tcp), {.to = endpoint("192.168.122.10", 80)}},
                            {word(5353, net::Protocol::Udp), {.to = endpoint("192.168.122.10", 53)}},
                            {word(9090, net::Protocol::Tcp), {.to = endpoint("192.168.122.99", 80)}}});
    const auto raw = [](const char* address) { return net::parse_ipv4(address)->raw(); };
    state.networks[0].hosts =
        WordTable<InsideHost>({{raw("192.168.122.10"), {.mac = vm_mac(1), .port = kVm1}},
                               {raw("192.168.122.11"), {.mac = vm_mac(2), .port = kVm2}},
                               {raw("192.168.122.99"), {}}});
    state.networks[1].hosts =
        WordTable<InsideHost>({{raw("192.168.5.10"), {.mac = vm_mac(4), .port = kVm4}}});
  });
}

// Which leave the flows below as they are; between VMs all of it goes by flows.
void put_rules(Testbed& bed) {
  RuleBuilder rules;
  rules.of_network(0).in = {accept({.protocol = net::Protocol::Tcp, .local_ports = {{80, 80}}}),
                            accept({.peer = kVm2}), accept({.protocol = net::Protocol::Icmp})};
  rules.of_network(0).out = {drop({.protocol = net::Protocol::Udp, .remote_ports = {{9, 9}}})};
  rules.of_port(kVm3).in = {accept()};
  rules.put_into(bed);
}

// Frames of flows that every input finds open.
std::vector<std::pair<PortIndex, Bytes>> prelude() {
  const auto from_vm1 = [](std::uint16_t port) {
    return Packet().from(vm_mac(1), "192.168.122.10", port).to(kRedMac, kRemote, 53);
  };
  const auto to_vm1 = [](std::uint16_t port) {
    return Packet().from(kRouterMac, kRemote, 53).to(kUplinkMac, kExternal, port);
  };
  constexpr auto syn = net::TcpHeader::kSyn, ack = net::TcpHeader::kAck;
  return {{kVm1, from_vm1(40000).udp().frame()},
          {kVm1, from_vm1(40001).tcp(syn).frame()},
          {kUplink, to_vm1(40001).tcp(syn | ack).frame()},
          {kVm1, from_vm1(40001).tcp(ack).frame()},
          {kVm1, from_vm1(0).icmp_echo(net::IcmpType::EchoRequest, 40002).frame()},
          {kVm1, from_vm1(0).protocol(47).frame()},
          {kVm4, Packet().from(vm_mac(4), "192.168.5.10", 40003).to(kBlueMac, kRemote, 53).udp().frame()}};
}

}  // namespace

GatewayBed::GatewayBed(const Testbed::Shape& shape)
    : workers_(shape.workers), bed_(shape), flows_(prelude()) {
  make_known(bed_);
  if (shape.workers > 1) put_rules(bed_);
  buffers_ = bed_.free_buffers();
}

void GatewayBed::finish() {
  bed_.pass(std::chrono::hours(3));
  for (int poll = 0; poll < 100 && sessions() != 0; ++poll) bed_.pass(std::chrono::milliseconds(250));
  if (sessions() != 0) fault("a session has outlived its timeout");
  if (!bed_.is_balanced()) fault("a frame is not accounted for");
  std::string why;
  for (unsigned i = 0; i < workers_; ++i) {
    const conntrack::Conntrack& table = bed_.worker(i).conntrack();
    if (++finished_ % 64 == 0 && !table.check_invariants(&why)) fault("invariants: " + why);
  }
  if (bed_.free_buffers() != buffers_) fault("a buffer is lost");
}

std::uint64_t GatewayBed::sessions() const {
  std::uint64_t sum = 0;
  for (unsigned i = 0; i < workers_; ++i) sum += bed_.worker(i).conntrack().statistics().active;
  return sum;
}

}  // namespace vmnat::fuzz
