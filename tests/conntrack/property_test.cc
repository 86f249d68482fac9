// SPDX-License-Identifier: Apache-2.0
// Random operations on a Conntrack, judged by a model made of std::map: ten million steps over eight shapes
// of NAT, with time jumps, exhaustion and recovery.
//
// VMNAT_PROPERTY_STEPS: steps in all (default 10'000'000; the soak test runs more).
#include <cstdlib>
#include <random>
#include <set>

#include "tests/conntrack/model.h"

namespace vmnat::conntrack {
namespace {

struct Case {
  const char* says;
  NatShape shape;
  NatPolicy policy;
  unsigned internal_endpoints;
  unsigned remotes;
  bool overloads;  // this and the next: what the walk must have met to show anything
  std::vector<Verdict> reached;
  bool drops_early = false;
};

std::ostream& operator<<(std::ostream& out, const Case& what) {
  return out << what.says;
}

NatPolicy policy_of(Mapping mapping, Filtering filtering, bool overload) {
  return {.mapping = mapping, .filtering = filtering, .overload = overload};
}

using enum Filtering;
constexpr auto kEim = Mapping::EndpointIndependent;
constexpr auto kEdm = Mapping::EndpointDependent;

std::vector<Case> cases() {
  const NatShape narrow{
      .addresses = 2, .first_port = 1024, .last_port = 1087, .reserved = {1030, 1031, 1080}};
  const NatShape wide{
      .addresses = 3, .first_port = 2000, .last_port = 2999, .reserved = {2500}, .capacity = 2000};
  const NatShape tight{.addresses = 1, .first_port = 1024, .last_port = 1033, .capacity = 400};
  const NatShape small_table{.addresses = 1, .first_port = 1024, .last_port = 1323, .capacity = 150};
  return {
      {"DefaultPolicyMoreEndpointsThanPorts",
       narrow,
       policy_of(kEim, AddressAndPortDependent, true),
       300,
       6,
       true,
       {Verdict::NoFreePort, Verdict::Filtered}},
      {"DefaultPolicyRoom",
       wide,
       policy_of(kEim, AddressAndPortDependent, true),
       400,
       12,
       false,
       {Verdict::Filtered}},
      {"FullConeOverloaded",
       narrow,
       policy_of(kEim, EndpointIndependent, true),
       200,
       5,
       true,
       {Verdict::NoFreePort, Verdict::Filtered}},
      {"AddressDependentFilter",
       wide,
       policy_of(kEim, AddressDependent, true),
       300,
       9,
       false,
       {Verdict::Filtered}},
      {"SymmetricOverloaded",
       narrow,
       policy_of(kEdm, AddressAndPortDependent, true),
       200,
       4,
       true,
       {Verdict::NoFreePort}},
      {"NoOverload",
       narrow,
       policy_of(kEim, EndpointIndependent, false),
       200,
       5,
       false,
       {Verdict::NoFreePort}},
      {"TenPortsManyRemotes",
       tight,
       policy_of(kEim, AddressDependent, true),
       60,
       40,
       true,
       {Verdict::NoFreePort},
       true},
      {"TableSmallerThanDemand",
       small_table,
       policy_of(kEdm, EndpointIndependent, true),
       100,
       10,
       false,
       {Verdict::Filtered},
       true},
  };
}

std::uint64_t steps_of_a_case() {
  const char* text = std::getenv("VMNAT_PROPERTY_STEPS");
  return (text != nullptr ? std::strtoull(text, nullptr, 10) : 10'000'000) / cases().size();
}

class Walk {
 public:
  Walk(const Case& what, std::uint64_t seed)
      : what_(what),
        random_(seed),
        nat_(seeded(what.shape, seed), what.policy),
        model_(what.shape, nat_.policy()) {}

  // What went wrong, or empty.
  std::string run(std::uint64_t steps) {
    for (std::uint64_t step = 0; step < steps; ++step) {
      std::string wrong = take_step();
      if (wrong.empty() && step % 65536 == 65535) wrong = nat_.broken_invariant();
      if (!wrong.empty()) return wrong + ", step " + std::to_string(step);
    }
    return drain();
  }

 private:
  static NatShape seeded(NatShape shape, std::uint64_t seed) {
    shape.seed = seed;
    return shape;
  }
  std::string take_step() {
    const unsigned dice = random_() % 1000;
    if (dice < 450) return outbound_packet();
    if (dice < 850) return inbound_packet();
    if (dice < 980) return erase_one();
    if (dice < 995) return pass_time(Ticks{random_() % 16});
    return pass_time(Ticks{std::chrono::seconds(random_() % 8 == 0 ? random_() % 9000 : random_() % 130)});
  }
  ModelNat::Flow random_flow() {
    constexpr net::Protocol kProtocols[] = {kTcp, kUdp, kUdp, kTcp, kIcmp, kUdp, kTcp, kGre};
    const net::Protocol protocol = kProtocols[random_() % 8];
    const unsigned i = random_() % what_.internal_endpoints;
    const unsigned r = random_() % what_.remotes;
    const bool has_ports = port_space(protocol) != PortSpace::None;
    const auto port = [&](unsigned number, bool has) {
      return net::L4Port::from_host(has ? static_cast<std::uint16_t>(number) : std::uint16_t{0});
    };
    return {protocol,
            {net::Ipv4Addr::from_host(0xc0a87a00 + i % 7), port(1000 + i / 7 * 31, has_ports)},
            {net::Ipv4Addr::from_host(0xc6336400 + r % 3), port(1020 + r, has_ports && protocol != kIcmp)}};
  }
  std::uint8_t random_tcp_flags() {
    constexpr std::uint8_t kUsual[] = {kSyn, kAck, kAck, kAck | kSyn, kFin | kAck, kRst};
    return kUsual[random_() % 6];
  }
  std::string outbound_packet() {
    const ModelNat::Flow flow = random_flow();
    const FlowKey key = FlowKey::of(flow.local, flow.remote, flow.protocol);
    if (model_.find(flow) != nullptr) return known_packet(flow, kOut);
    if (nat_->find(key) != nullptr) return "found a session that the model does not have";
    const OutboundFlow frame{.key = key, .vm_port = static_cast<PortIndex>(random_() % 4), .tcp_flags = kSyn};
    const Opened opened = nat_->open_outbound(frame, 0, now_);
    seen_.insert(opened.verdict);
    if (const std::string wrong = early_drop(opened); !wrong.empty()) return wrong;
    return model_.judge_outbound(flow, opened.verdict, opened.session, now_);
  }
  std::string inbound_packet() {
    if (model_.sessions().empty()) return "";
    auto at = model_.sessions().lower_bound(random_flow());
    if (at == model_.sessions().end()) at = model_.sessions().begin();
    if (random_() % 4 != 0) return known_packet(at->first, kIn);
    // A stranger, or a known remote's other port.
    ModelNat::Flow inbound{at->first.protocol, at->second.external, random_flow().remote};
    if (inbound.protocol == kGre || inbound.protocol == kIcmp) inbound.remote.port = {};
    const FlowKey key = FlowKey::of(inbound.local, inbound.remote, inbound.protocol);
    if (nat_->find(key) != nullptr) return "";  // the known case
    const Opened opened = nat_->open_inbound({.key = key, .tcp_flags = kSyn}, 0, now_);
    seen_.insert(opened.verdict);
    if (const std::string wrong = early_drop(opened); !wrong.empty()) return wrong;
    return model_.judge_inbound(inbound, opened.verdict, opened.session, now_);
  }
  // Whether what has gone for this session might go. It need not have opened: its port may not be to be had.
  std::string early_drop(const Opened& opened) {
    const unsigned opens = opened.session != nullptr ? 1 : 0;
    if (nat_->statistics().active == model_.sessions().size() + opens) return "";
    for (const auto& [flow, entry] : model_.sessions()) {
      const Session* found = nat_->find(FlowKey::of(flow.local, flow.remote, flow.protocol));
      if (found == nullptr) return model_.judge_early_drop(flow);
    }
    return "a session is missing, and none was dropped";
  }
  std::string known_packet(const ModelNat::Flow& flow, Direction direction) {
    const ModelNat::Entry& entry = *model_.find(flow);
    const FlowKey outbound = FlowKey::of(flow.local, flow.remote, flow.protocol);
    const FlowKey inbound = FlowKey::of(entry.external, flow.remote, flow.protocol);
    Session* session = nat_->find(direction == kOut ? outbound : inbound);
    if (session == nullptr) return "a session is missing";
    if (session->internal() != flow.local || session->external() != entry.external)
      return "another session was found";
    if (session->state() != entry.state) return "the state differs";
    if (session->packets(kOut) != entry.packets[0] || session->packets(kIn) != entry.packets[1])
      return "packets differ";
    if (session->bytes(kOut) != 60 * entry.packets[0]) return "bytes differ";
    const std::uint8_t flags = random_tcp_flags();
    const bool is_credible = direction == kOut || random_() % 4 != 0;
    const std::uint32_t number =
        session->sequence() + (is_credible ? 0 : 0x4000'0000 + random_() % 0x4000'0000);
    count(*session, direction, 60);
    if (flow.protocol == kTcp)
      follow_tcp(*nat_, *session, direction, {number, number, 0, flags}, now_);
    else
      keep_alive(*session, direction, now_);
    nat_->move_to(*session, static_cast<PortIndex>(random_() % 4), net::MacAddr{{2, 0, 0, 0, 0, 9}});
    model_.see_packet(flow, direction, flags, is_credible, now_);
    return "";
  }
  std::string erase_one() {
    const auto at = model_.sessions().lower_bound(random_flow());
    if (at == model_.sessions().end()) return "";
    const ModelNat::Flow flow = at->first;
    Session* session = nat_->find(FlowKey::of(flow.local, flow.remote, flow.protocol));
    if (session == nullptr) return "a session to erase is missing";
    nat_->erase(*session, now_);
    model_.remove(flow);
    return "";
  }
  // What has timed out may be gone, what has not must be there; after a complete turn all of it is gone.
  std::string pass_time(Ticks ticks) {
    now_ += ticks;
    const bool whole_turn = random_() % 2 == 0;
    if (whole_turn) {
      nat_.expire_all(now_);
      now_ += Ticks{std::chrono::seconds(8)};
    } else {
      nat_->expire(now_, static_cast<unsigned>(random_() % 100));
    }
    std::vector<ModelNat::Flow> gone;
    for (const auto& [flow, entry] : model_.sessions()) {
      const bool found = nat_->find(FlowKey::of(flow.local, flow.remote, flow.protocol)) != nullptr;
      if (!found) gone.push_back(flow);
      if (!found && !model_.is_expired(entry, now_)) return "a live session was expired";
      if (found && whole_turn && model_.is_expired(entry, now_ - Ticks{std::chrono::seconds(8)}))
        return "not expired in time";
    }
    for (const auto& flow : gone) model_.remove(flow);
    if (nat_->statistics().active != model_.sessions().size()) return "sessions are left over";
    return nat_->statistics().mappings == model_.mappings() ? "" : "mappings are left over";
  }
  std::string unreached() {
    const Statistics statistics = nat_->statistics();
    for (const Verdict verdict : what_.reached)
      if (!seen_.contains(verdict)) return "never " + number_of(verdict);
    if (what_.drops_early && statistics.early_dropped == 0) return "never dropped one early";
    return what_.overloads == (statistics.overloaded > 0) ? "" : "overload was not what the case is about";
  }
  std::string drain() {
    now_ += Ticks{std::chrono::hours(3)};
    nat_.expire_all(now_);
    if (nat_->statistics().active != 0) return "sessions are left at the end";
    for (unsigned address = 0; address < what_.shape.addresses; ++address) {
      for (const PortSpace space : {PortSpace::Tcp, PortSpace::Udp, PortSpace::Icmp})
        if (nat_->ports_used(static_cast<ExternalIndex>(address), space) != 0)
          return "ports are left at the end";
    }
    return nat_.broken_invariant() + unreached();
  }

  Case what_;
  std::mt19937_64 random_;
  Nat nat_;
  ModelNat model_;
  std::set<Verdict> seen_;
  Time now_ = at_seconds(1000);
};

class Property : public testing::TestWithParam<Case> {};

TEST_P(Property, AnswersAreWhatTheModelAllows) {
  constexpr std::uint64_t kSeeds = 3;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed)
    ASSERT_EQ(Walk(GetParam(), seed).run(steps_of_a_case() / kSeeds), "") << "seed " << seed;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Property, testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.says); });

}  // namespace
}  // namespace vmnat::conntrack
