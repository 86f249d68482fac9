// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/gateway.h"

#include <array>
#include <memory>

#include "tests/fuzz/driver.h"
#include "tests/fuzz/gateway_bed.h"
#include "tests/fuzz/oracle.h"

namespace vmnat::fuzz {
namespace {

using conntrack::Filtering;
using namespace test;

constexpr std::size_t kMaxSteps = 24;
constexpr std::size_t kMaxFrame = 4096;  // two buffer segments

class Gateway {
 public:
  Gateway(unsigned workers, Filtering filtering)
      : gateway_({.workers = workers, .policy = {.filtering = filtering}}) {}

  void start() {
    for (const auto& [port, frame] : gateway_.flows()) put({{port, frame}});
  }

  // One burst.
  std::vector<Output> put(const std::vector<Output>& frames) {
    Testbed& bed = gateway_.bed();
    for (const Output& input : frames) bed.put(input.port, input.frame);
    bed.run();
    std::vector<Output> outputs;
    for (PortIndex out = 0; out < kPortCount; ++out)
      for (SentFrame& sent : bed.take_sent(out)) add(outputs, out, sent);
    bed.take_punted();
    bed.take_learned();
    return outputs;
  }

  void finish() { gateway_.finish(); }

 private:
  static void add(std::vector<Output>& outputs, PortIndex port, SentFrame& sent) {
    const Output output{port, std::move(sent.bytes)};
    if ((sent.flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return outputs.push_back(output);
    for (Output& segment : segments_of(output, sent.segment_size)) outputs.push_back(std::move(segment));
  }

  GatewayBed gateway_;
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
