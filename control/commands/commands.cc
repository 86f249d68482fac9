// SPDX-License-Identifier: Apache-2.0
#include "control/commands/commands.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>

#include "control/admin/commands.h"
#include "control/commands/change_commands.h"
#include "control/commands/dhcp_commands.h"
#include "control/commands/doctor_command.h"
#include "control/commands/invariants.h"
#include "control/commands/observation.h"
#include "control/commands/rule_list.h"
#include "control/commands/session_flush.h"
#include "control/commands/session_list.h"
#include "control/commands/statistics.h"
#include "control/config/dump.h"
#include "control/config/values.h"
#include "control/config/words.h"
#include "control/system/rfc3339.h"
#include "control/version.h"
#include "control/watch/exhaustion.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;

std::int64_t seconds_since(SteadyTime start) {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - start).count();
}

Json text_or_null(net::MacAddr mac) {
  return mac.is_zero() ? Json() : Json(net::to_string(mac));
}

Json text_or_null(net::Ipv4Addr address) {
  return address.is_unspecified() ? Json() : Json(net::to_string(address));
}

const char* link_text(bool is_up) {
  return is_up ? "up" : "down";
}

std::size_t lease_count(const CommandContext& at) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < at.numbered.networks.size(); ++i)
    count += at.dhcp.lease_count(static_cast<NetworkIndex>(i));
  return count;
}

dhcp::WallTime wall_time(dhcp::ClientTime time) {
  return std::chrono::system_clock::now() +
         std::chrono::duration_cast<dhcp::WallTime::duration>(time - boot_time());
}

// What an uplink's DHCP client holds; null when the configuration gives the address.
Json uplink_lease(const UplinkSide& side) {
  const auto& uplink = side.client();
  if (!uplink) return nullptr;
  Json json{{"state", dhcp::to_string(uplink->client().state())}, {"server", nullptr}, {"expires", nullptr}};
  if (const auto& lease = uplink->client().binding()) {
    json["server"] = net::to_string(lease->server);
    if (lease->expires != dhcp::ClientTime::max()) json["expires"] = rfc3339(wall_time(lease->expires));
  }
  return json;
}

// The resolvers told to VMs whose network names none.
Json resolvers_told(const CommandContext& at) {
  const auto of_lease = at.uplinks.resolvers_of_leases();
  Json list = Json::array();
  for (const net::Ipv4Addr address : of_lease.empty() ? at.resolvers.of_host() : of_lease)
    list.push_back(net::to_string(address));
  return list;
}

// External addresses that give no new sessions, of a network or of all, and how many are left on each.
Json draining(const CommandContext& at, const std::vector<conntrack::ExternalIndex>& addresses) {
  const conntrack::ExternalAddresses& external = *at.states.current().external_addresses;
  Json list = Json::array();
  for (const conntrack::ExternalIndex index : addresses)
    if (external.ports(index) != nullptr && external.is_draining(index))
      list.push_back({{"address", net::to_string(external.address(index))},
                      {"sessions", sessions_at(at.workers, index)}});
  return list;
}

Json draining(const CommandContext& at) {
  std::vector<conntrack::ExternalIndex> all(at.states.current().external_addresses->size());
  std::iota(all.begin(), all.end(), conntrack::ExternalIndex{0});
  return draining(at, all);
}

// Of a start that found sessions of the process before: what became of them.
Json sessions_of_status(const CommandContext& at) {
  const std::string path = at.session_keeper.path();
  Json sessions{{"active", active_sessions(at.workers)},
                {"capacity", at.config.conntrack.sessions},
                {"image", path.empty() ? Json() : Json(path)},
                {"former", Json()}};
  if (const auto& revivals = at.session_keeper.revivals())
    for (std::size_t i = 0; i < revivals->size(); ++i)
      sessions["former"][conntrack::kRevivalNames[i]] = (*revivals)[i];
  return sessions;
}

std::uint16_t mtu_of_uplink(const CommandContext& at, std::size_t number) {
  const dataplane::Uplink& uplink = at.states.current().uplinks[number];
  return uplink.has_address() ? uplink.mtu : config::uplink_at(at.config, number).mtu;
}

Json uplink_json(const CommandContext& at, std::size_t number) {
  const dataplane::Uplink& uplink = at.states.current().uplinks[number];
  return {{"device", config::uplink_at(at.config, number).device.name},
          {"kind", at.devices[number].kind()},
          {"link", link_text(at.states.current().ports[number].up)},
          {"address", uplink.has_address() ? Json(net::to_string(uplink.address)) : Json()},
          {"gateway", text_or_null(uplink.gateway)},
          {"gateway_mac", text_or_null(uplink.gateway_mac)},
          {"mac", net::to_string(uplink.mac)},
          {"mtu", mtu_of_uplink(at, number)},
          {"dhcp", uplink_lease(at.uplinks[number])}};
}

const char* state_text(const Uplinks& uplinks, std::size_t number) {
  if (uplinks.is_dead(number)) return "dead";
  return uplinks.networks_on(number).empty() ? "standby" : "active";
}

// `why`: what is wrong with it; null: nothing is.
Json uplink_row(const CommandContext& at, std::size_t number) {
  const dataplane::Uplink& uplink = at.states.current().uplinks[number];
  const std::string trouble = at.uplinks.trouble_text(number);
  return {{"name", at.uplinks[number].name()},
          {"device", config::uplink_at(at.config, number).device.name},
          {"state", state_text(at.uplinks, number)},
          {"why", trouble.empty() ? Json() : Json(trouble)},
          {"address", uplink.has_address() ? Json(net::to_string(uplink.address)) : Json()},
          {"gateway", text_or_null(uplink.gateway)},
          {"networks", at.uplinks.networks_on(number)},
          {"probe", text_or_null(at.uplinks[number].probe())},
          {"switches", at.uplinks.switches(number)}};
}

Json uplink_rows(const CommandContext& at) {
  Json list = Json::array();
  for (std::size_t i = 0; i < at.uplinks.size(); ++i) list.push_back(uplink_row(at, i));
  return list;
}

Answer uplinks(const CommandContext& at) {
  return Answer::list_of(uplink_rows(at));
}

Answer status(const CommandContext& at) {
  const dataplane::ForwardingState& state = at.states.current();
  std::size_t up = 0;
  for (const dataplane::Port& port : state.ports) up += port.up ? 1 : 0;
  return Answer::object({
      {"version", kVersion},
      {"state", "running"},
      {"uptime_s", seconds_since(at.started)},
      {"config", at.configuration.path()},
      {"workers", at.workers.count()},
      {"steering", at.steering ? Json(to_word(at.steering->way)) : Json()},
      {"networks", at.config.networks.size()},
      {"ports", {{"up", up}, {"total", std::ranges::count(at.ports, true, &PortPlan::exists)}}},
      {"sessions", sessions_of_status(at)},
      {"leases", lease_count(at)},
      {"memory", {{"bytes", at.config.dataplane.memory.bytes}, {"hugepages", at.eal.uses_hugepages}}},
      {"uplink", uplink_json(at, 0)},
      {"uplinks", uplink_rows(at)},
      {"draining", draining(at)},
      {"resolvers", resolvers_told(at)},
      {"notes", notes(at)},
  });
}

const char* to_string(dataplane::Guard guard) {
  switch (guard) {
    case dataplane::Guard::GatewayOnly:
      break;
    case dataplane::Guard::Others:
      return "others";
    case dataplane::Guard::OwnMac:
      return "mac";
    case dataplane::Guard::OwnBoth:
      return "mac and address";
  }
  return "gateway";
}

// A segment may hold tens of thousands: `owns_total` counts those that are left out, too.
constexpr std::size_t kMostOwned = 64;

void add_owned(const CommandContext& at, PortIndex index, Json& json) {
  const config::VmPort& config = *at.ports[at.places.vm_at(index)].config;
  Json owns = Json::array();
  const auto add = [&](net::MacAddr mac, net::Ipv4Addr address, const char* by) {
    owns.push_back({{"mac", text_or_null(mac)}, {"address", text_or_null(address)}, {"by", by}});
  };
  if (config.mac || config.address)
    add(config.mac.value_or(net::MacAddr{}), config.address.value_or(net::Ipv4Addr{}), "configuration");
  const auto leases = at.dhcp.leases_through(index);
  json["owns_total"] = owns.size() + leases.size();
  for (const dhcp::Lease* lease : leases)
    if (owns.size() < kMostOwned) add(lease->mac, lease->address, "lease");
  json["owns"] = std::move(owns);
  if (at.places.vm_at(index) != index) json["vm_of"] = config.name;
}

// What the guard dropped, and what DHCP did not answer, by reason.
Json refused_json(const PortTotals& totals) {
  Json refused = Json::object();
  for (const auto reason : {dataplane::DropReason::SpoofedMac, dataplane::DropReason::SpoofedAddress,
                            dataplane::DropReason::RogueRouter, dataplane::DropReason::RogueDhcp})
    if (const std::uint64_t count = totals.drops[index_of(reason)]; count != 0)
      refused[std::string(dataplane::kDropNames[index_of(reason)])] = count;
  for (std::size_t i = 0; i < totals.ignored.size(); ++i)
    if (totals.ignored[i] != 0)
      refused[fmt::format("dhcp.{}", dhcp::kIgnoredTexts[i].name)] = totals.ignored[i];
  return refused;
}

// Of each direction, in bits, bytes and frames; null where there is no such limit.
Json limit_json(const dataplane::LimitsOneWay& limits) {
  if (limits.own == nullptr) return nullptr;
  const auto& [bytes, peak, packets] = limits.own->rates();
  const auto or_null = [](std::uint64_t number) { return number == 0 ? Json() : Json(number); };
  return {{"rate", or_null(bytes.per_second * 8)},
          {"burst", or_null(bytes.burst)},
          {"peak", or_null(peak.per_second * 8)},
          {"packets", or_null(packets.per_second)}};
}

Json limits_json(const dataplane::ForwardingState& state, PortIndex port) {
  const auto* const limits = state.limits != nullptr ? state.limits->of(port) : nullptr;
  if (limits == nullptr || (limits->in.own == nullptr && limits->out.own == nullptr)) return nullptr;
  return {{"in", limit_json(limits->in)}, {"out", limit_json(limits->out)}};
}

Json port_json(const CommandContext& at, PortIndex index, const PortTotals& totals) {
  const PortPlan& plan = at.ports[index];
  const dataplane::ForwardingState& state = at.states.current();
  Json drops = Json::object();
  for (std::size_t i = 0; i < dataplane::kDropReasonCount; ++i)
    if (totals.drops[i] != 0) drops[std::string(dataplane::kDropNames[i])] = totals.drops[i];
  Json json{{"name", plan.name},
            {"network", network_name(at, plan)},
            {"kind", at.devices[index].kind()},
            {"link", link_text(state.ports[index].up)},
            {"rx_packets", totals.rx_packets},
            {"tx_packets", totals.tx_packets},
            {"rx_bytes", totals.rx_bytes},
            {"tx_bytes", totals.tx_bytes},
            {"tx_refused", totals.tx_refused},
            {"limited_out", totals.limited_out},
            {"limited_in", totals.limited_in},
            {"limited_dropped", totals.limited_dropped},
            {"drops", drops}};
  if (plan.is_host) {
    json["mac"] = net::to_string(state.networks[plan.network].mac);
    json["address"] = net::to_string(state.networks[plan.network].gateway.address);
    json["mtu"] = plan.mtu;
    return json;
  }
  if (plan.is_uplink) {
    json["mac"] = net::to_string(state.uplinks[index].mac);
    json["address"] = text_or_null(state.uplinks[index].address.address);
    json["mtu"] = mtu_of_uplink(at, index);
    return json;
  }
  json["mac"] = text_or_null(at.tables.macs().latest(index));
  const auto address = at.dhcp.address_of(index);
  json["address"] = address ? Json(net::to_string(*address)) : Json();
  json["mtu"] = plan.mtu;
  json["guard"] = to_string(state.ports[index].guard);
  json["limit"] = limits_json(state, index);
  add_owned(at, index, json);
  json["refused"] = refused_json(totals);
  if (!plan.config->vhost_user.empty()) {
    json["socket"] = plan.config->vhost_user;
    json["mode"] = config::to_word(plan.config->mode);
    json["queues"] = plan.config->queues;
    json["rings_deferred"] = totals.rings_deferred;
    json["interrupts"] = at.devices[index].vhost()->port().interrupts();
    json["refused_connections"] = totals.refused_connections;
    json["refused_messages"] = totals.refused_messages;
  }
  return json;
}

Answer ports(const CommandContext& at) {
  Json list = Json::array();
  const Counts counts = keep_counts(at);
  for (std::size_t i = 0; i < at.ports.size(); ++i)
    if (at.ports[i].exists) list.push_back(port_json(at, static_cast<PortIndex>(i), counts.ports[i]));
  return Answer::list_of(std::move(list));
}

Answer networks(const CommandContext& at) {
  Json list = Json::array();
  const dataplane::ForwardingState& state = at.states.current();
  for (std::size_t i = 0; i < at.numbered.networks.size(); ++i) {
    const config::Network& network = at.numbered.networks[i];
    if (network.name.empty()) continue;
    Json external = Json::array();
    for (const net::Ipv4Addr address : at.uplinks.external_addresses(network))
      external.push_back(net::to_string(address));
    list.push_back({{"name", network.name},
                    {"address", net::to_string(network.address)},
                    {"mac", net::to_string(state.networks[i].mac)},
                    {"mtu", network.mtu},
                    {"forward", config::to_word(network.forward)},
                    {"external", external},
                    {"draining", draining(at, (*at.states.current().policies)[i].addresses)},
                    {"ports", network.ports.size()},
                    {"leases", at.dhcp.lease_count(static_cast<NetworkIndex>(i))}});
  }
  return Answer::list_of(std::move(list));
}

Answer counters(const CommandContext& at) {
  Json object = Json::object();
  for (const auto& [name, value] : keep_counts(at).named) object[name] = value;
  return Answer::object(std::move(object));
}

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Cycles a frame for each step, in a build that counts them.
[[maybe_unused]] Json stages_of(const dataplane::WorkerCounters& counters) {
  Json stages = Json::object();
  const std::uint64_t misses = counters.stages.of(dataplane::Stage::NewFlow).cycles;
  for (std::size_t i = 0; i < dataplane::kStageCount; ++i) {
    dataplane::StageTotal total = counters.stages.of(static_cast<dataplane::Stage>(i));
    if (static_cast<dataplane::Stage>(i) == dataplane::Stage::LookUp) total.cycles -= misses;
    stages[std::string(dataplane::kStageNames[i])] = {
        {"cycles_per_packet", ratio(total.cycles, total.packets)}, {"packets", total.packets}};
  }
  return stages;
}

Answer workers(const CommandContext& at) {
  Json list = Json::array();
  for (std::size_t i = 0; i < at.workers.count(); ++i) {
    const dataplane::Worker& worker = at.workers[i];
    const dataplane::WorkerCounters& counters = worker.counters();
    std::uint64_t packets = 0;
    for (std::size_t port = 0; port < at.ports.size(); ++port)
      packets += counters.ports[port].rx_packets.get();
    list.push_back({{"worker", i},
                    {"cpu", at.eal.worker_cpus[i]},
                    {"busy_ratio", ratio(counters.busy_cycles.get(), counters.total_cycles.get())},
                    {"busy_cycles", counters.busy_cycles.get()},
                    {"total_cycles", counters.total_cycles.get()},
                    {"cycles_per_packet", ratio(counters.busy_cycles.get(), packets)},
                    {"packets", packets},
                    {"sessions", worker.conntrack().statistics().active},
                    {"handoff_ratio", ratio(counters.handoff_frames.get(), packets)}});
    if constexpr (dataplane::kStageCyclesCounted) list.back()["stages"] = stages_of(counters);
  }
  return Answer::list_of(std::move(list));
}

void add_neighbors(const Neighbors& neighbors, const std::string& network, Json& list) {
  for (const auto& [address, neighbor] : neighbors.all()) {
    const bool is_known = !neighbor.mac.is_zero();
    list.push_back({{"address", net::to_string(address)},
                    {"mac", text_or_null(neighbor.mac)},
                    {"network", network},
                    {"state", to_string(neighbor.state)},
                    {"age_s", is_known ? Json(seconds_since(neighbor.confirmed)) : Json()}});
  }
}

Answer neighbors(const CommandContext& at) {
  Json list = Json::array();
  for (std::size_t i = 0; i < at.uplinks.size(); ++i)
    add_neighbors(at.uplinks[i].neighbors(), at.uplinks[i].name(), list);
  for (std::size_t i = 0; i < at.inside.all().size(); ++i)
    add_neighbors(at.inside.all()[i], at.numbered.networks[i].name, list);
  for (const auto& [network, leases] : at.dhcp.leases())
    for (const dhcp::Lease& lease : leases)
      if (lease.state == dhcp::LeaseState::Bound)
        list.push_back({{"address", net::to_string(lease.address)},
                        {"mac", text_or_null(lease.mac)},
                        {"network", network},
                        {"state", "leased"},
                        {"age_s", nullptr}});
  return Answer::list_of(std::move(list));
}

// `mac` and `port` are null while the VM does not answer ARP.
Json forward_json(const CommandContext& at, NetworkIndex network, net::Ipv4Addr vm, Json row) {
  const auto* host = at.states.current().networks[network].hosts.find(vm.raw());
  const bool is_known = host != nullptr && host->is_resolved();
  row["network"] = at.numbered.networks[network].name;
  row["port"] = is_known ? Json(at.ports[host->port].name) : Json();
  row["mac"] = is_known ? Json(net::to_string(host->mac)) : Json();
  return row;
}

// "203.0.113.2:8000-8099"
std::string ports_text(net::Endpoint first, unsigned ports) {
  std::string text = net::to_string(first);
  if (ports > 1) text += '-' + std::to_string(first.port.host() + ports - 1);
  return text;
}

std::string remotes_text(const net::Ipv4Prefix& from) {
  return from.length == 0 ? "any" : config::address_block_text(from);
}

// A row a VM. `external` is null while DHCP gives no address. An address that is a VM's alone is forwarded with all
// protocols.
Answer forwards(const CommandContext& at) {
  Json list = Json::array();
  for (const ForwardPlan& forward : at.uplinks.forwards()) {
    const bool is_there = !forward.external.address.is_unspecified();
    for (const net::Endpoint server : forward.to)
      list.push_back(
          forward_json(at, forward.network, server.address,
                       {{"protocol", config::to_word(forward.protocol)},
                        {"external", is_there ? Json(ports_text(forward.external, forward.ports)) : Json()},
                        {"internal", ports_text(server, forward.ports)},
                        {"from", remotes_text(forward.from)}}));
  }
  for (const dataplane::AddressPair& pair : at.uplinks.static_nat())
    list.push_back(forward_json(at, pair.network, pair.internal,
                                {{"protocol", "all"},
                                 {"external", net::to_string(pair.external)},
                                 {"internal", net::to_string(pair.internal)},
                                 {"from", "any"}}));
  return Answer::list_of(std::move(list));
}

// The remotes that most sessions were refused towards; `excess`: by how much `refused` may be too high.
Answer exhaustion(const CommandContext& at) {
  Json list = Json::array();
  for (const auto& row : most_refused(at.workers.refused_remotes())) {
    const PortPlan& port = at.ports[row.port];
    list.push_back({{"remote", net::to_string(row.remote)},
                    {"refused", row.count},
                    {"excess", row.excess},
                    {"network", network_name(at, port)},
                    {"port", port.name},
                    {"cause", std::string(dataplane::kDropNames[index_of(row.cause)])}});
  }
  return Answer::list_of(std::move(list));
}

Answer config_in_effect(const CommandContext& at) {
  const config::Origins& origins = at.configuration.origins();
  Json from = Json::object();
  for (const auto& [name, origin] : config::named_origins(at.config, origins))
    from[name] = config::to_text(origin);
  return Answer::object({{"file", at.configuration.path()},
                         {"yaml", config::dump_config(at.config, origins)},
                         {"origins", std::move(from)}});
}

// What the handlers see: the context, and the commands that go on beyond one call.
struct HandlerState {
  explicit HandlerState(const CommandContext& context)
      : at(context),
        invariants(at.workers),
        flusher(at.numbered, at.ports, at.workers, at.flush_turns),
        doctor(at) {}

  const CommandContext at;
  InvariantsCheck invariants;
  SessionFlusher flusher;
  DoctorCommand doctor;
};
using Handler = Result<Answer> (*)(HandlerState& state, const Json& arguments);

template <Answer (*command)(const CommandContext&)>
Result<Answer> plain(HandlerState& state, const Json&) {
  return command(state.at);
}

// The name of a command, as a template argument.
template <std::size_t size>
struct CommandName {
  constexpr CommandName(const char (&name)[size]) { std::ranges::copy(name, text); }  // NOLINT: converts
  char text[size];
};
template <CommandName name>
Result<Answer> edit(HandlerState& state, const Json& arguments) {
  return edit_configuration(state.at, name.text, arguments);
}

struct Bound {
  std::string_view command;
  Handler handler;
};
constexpr Bound kHandlers[] = {
    {"status", plain<status>},
    {"ports", plain<ports>},
    {"networks", plain<networks>},
    {"uplinks", plain<uplinks>},
    {"leases", [](HandlerState& state, const Json&) -> Result<Answer> { return list_leases(state.at.dhcp); }},
    {"counters", plain<counters>},
    {"workers", plain<workers>},
    {"forwards", plain<forwards>},
    {"rules", [](HandlerState& state, const Json& arguments) { return list_rules(state.at, arguments); }},
    {"exhaustion", plain<exhaustion>},
    {"neighbors", plain<neighbors>},
    {"invariants", [](HandlerState& state, const Json&) { return state.invariants.start(); }},
    {"config", plain<config_in_effect>},
    {"doctor", [](HandlerState& state, const Json&) { return state.doctor.start(); }},
    {"reload", [](HandlerState& state, const Json& arguments) { return reload(state.at, arguments); }},
    {"port-add", edit<"port-add">},
    {"port-del", edit<"port-del">},
    {"network-add", edit<"network-add">},
    {"network-del", edit<"network-del">},
    {"forward-add", edit<"forward-add">},
    {"forward-del", edit<"forward-del">},
    {"pool-add", edit<"pool-add">},
    {"pool-drain", edit<"pool-drain">},
    {"pool-del", edit<"pool-del">},
    {"sessions",
     [](HandlerState& state, const Json& arguments) { return list_sessions(state.at, arguments); }},
    {"flush", [](HandlerState& state, const Json& arguments) { return state.flusher.flush(arguments); }},
    {"lease-release",
     [](HandlerState& state, const Json& arguments) { return release_lease(state.at.dhcp, arguments); }},
    {"reserve-add",
     [](HandlerState& state, const Json& arguments) { return add_reservation(state.at.dhcp, arguments); }},
    {"reserve-del",
     [](HandlerState& state, const Json& arguments) { return delete_reservation(state.at.dhcp, arguments); }},
    {"capture", [](HandlerState& state,
                   const Json& arguments) { return capture(state.at.observers, state.at.ports, arguments); }},
    {"trace", [](HandlerState& state,
                 const Json& arguments) { return trace(state.at.observers, state.at.ports, arguments); }},
};

static_assert(std::ranges::equal(kHandlers, admin::kCommands, {}, &Bound::command, &admin::Command::name),
              "each row of admin/commands.h has its handler, in the same order");

}  // namespace

void register_commands(admin::Server& server, const CommandContext& context) {
  const auto state = std::make_shared<HandlerState>(context);
  for (const auto& [command, handler] : kHandlers)
    server.answer(std::string{command}, admin::find_command(command)->access,
                  [state, handler = handler](const Json& arguments) { return handler(*state, arguments); });
}

}  // namespace vmnat::control
