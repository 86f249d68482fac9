// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/gateway.h"

#include <array>
#include <memory>

#include "tests/dataplane/testbed.h"
#include "tests/fuzz/driver.h"
#include "tests/fuzz/oracle.h"

namespace vmnat::fuzz {
namespace {

using conntrack::Filtering;
using dataplane::Forward;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using namespace test;

constexpr std::size_t kMaxSteps = 24;
constexpr std::size_t kMaxFrame = 4096;  // two buffer segments
constexpr const char* kExternal = "203.0.113.2";
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

// A testbed that lives as long as the process, and goes back to where it was after each input.
class Gateway {
 public:
  Gateway(unsigned workers, Filtering filtering)
      : workers_(workers), bed_(workers, {.filtering = filtering}), prelude_(prelude()) {
    make_known(bed_);
    buffers_ = bed_.free_buffers();
  }

  void start() {
    for (const auto& [port, frame] : prelude_) put({{port, frame}});
  }

  // One burst.
  std::vector<Output> put(const std::vector<Output>& frames) {
    for (const Output& input : frames) bed_.put(input.port, input.frame);
    bed_.run();
    std::vector<Output> outputs;
    for (PortIndex out = 0; out < kPortCount; ++out)
      for (SentFrame& sent : bed_.take_sent(out)) add(outputs, out, sent);
    bed_.take_punted();
    bed_.take_learned();
    return outputs;
  }

  // All sessions end; then nothing may be left of the input.
  void finish() {
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

 private:
  static void add(std::vector<Output>& outputs, PortIndex port, SentFrame& sent) {
    const Output output{port, std::move(sent.bytes)};
    if ((sent.flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return outputs.push_back(output);
    for (Output& segment : segments_of(output, sent.segment_size)) outputs.push_back(std::move(segment));
  }

  std::uint64_t sessions() const {
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < workers_; ++i) sum += bed_.worker(i).conntrack().statistics().active;
    return sum;
  }

  unsigned workers_;
  Testbed bed_;
  std::vector<std::pair<PortIndex, Bytes>> prelude_;
  std::size_t buffers_ = 0;
  unsigned finished_ = 0;
};

Gateway& gateway_of(std::uint8_t choice) {
  static std::array<std::unique_ptr<Gateway>, 4> gateways;
  const unsigned which = choice % gateways.size();
  if (!gateways[which]) {
    constexpr Filtering filtering[] = {Filtering::AddressAndPortDependent, Filtering::AddressDependent,
                                       Filtering::EndpointIndependent, Filtering::EndpointIndependent};
    gateways[which] = std::make_unique<Gateway>(which == 3 ? 2 : 1, filtering[which]);
  }
  return *gateways[which];
}

struct Step {
  PortIndex port = 0;
  std::uint8_t mends = 0;
  Bytes frame;
};

// The next step, or none when the input is used up.
bool next_step(std::span<const std::uint8_t>& input, Side side, Step& step) {
  constexpr std::size_t head = 4;
  if (input.size() <= head) return false;
  // Now and then one of the other side: what it opens is there for this one.
  step.port = side == Side::Vms ? static_cast<PortIndex>(1 + input[0] % 5) : PortIndex{kUplink};
  if (input[0] >= 0x80) step.port = static_cast<PortIndex>(input[0] % kPortCount);
  step.mends = input[1];
  const std::size_t told = static_cast<std::size_t>(input[2]) << 8 | input[3];
  const std::size_t length = std::min({told, input.size() - head, kMaxFrame});
  const auto bytes = std::as_bytes(input.subspan(head, length));
  step.frame.assign(bytes.begin(), bytes.end());
  input = input.subspan(head + length);
  return true;
}

// The first byte of a step that says any port: see next_step().
std::uint8_t any_port(std::uint8_t port) {
  for (unsigned value = 0x80; value < 0x100; ++value)
    if (value % kPortCount == port) return static_cast<std::uint8_t>(value);
  return 0x80;
}

}  // namespace

void play(std::span<const std::uint8_t> input, Side side) {
  if (input.empty()) return;
  Gateway& gateway = gateway_of(input[0]);
  gateway.start();
  input = input.subspan(1);
  Step step;
  std::vector<Output> burst;
  const auto play_burst = [&] {
    check_outputs(burst, gateway.put(burst));
    burst.clear();
  };
  for (std::size_t i = 0; i < kMaxSteps && next_step(input, side, step); ++i) {
    mend(step.frame, step.mends);
    if (!burst.empty() && burst.back().port != step.port) play_burst();
    burst.push_back({step.port, step.frame});
    if ((step.mends & kSameBurst) == 0) play_burst();
  }
  if (!burst.empty()) play_burst();
  gateway.finish();
}

void add_step(Input& input, std::uint8_t port, const Bytes& frame, std::uint8_t mends) {
  if (input.empty()) input.push_back(0);
  input.insert(input.end(), {any_port(port), mends, static_cast<std::uint8_t>(frame.size() >> 8),
                             static_cast<std::uint8_t>(frame.size() & 0xff)});
  for (const std::byte byte : frame) input.push_back(static_cast<std::uint8_t>(byte));
}

}  // namespace vmnat::fuzz
