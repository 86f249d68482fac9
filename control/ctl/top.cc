// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/top.h"

#include <algorithm>
#include <sstream>

#include "control/ctl/table.h"

namespace vmnat::ctl {
namespace {

constexpr admin::Column kPortColumns[] = {{"PORT", "name"},
                                          {"NETWORK", "network"},
                                          {"ADDRESS", "address"},
                                          {"OUT_BIT/S", "out_bits", admin::Cell::Scaled},
                                          {"IN_BIT/S", "in_bits", admin::Cell::Scaled},
                                          {"OUT_PKT/S", "out_packets", admin::Cell::Scaled},
                                          {"IN_PKT/S", "in_packets", admin::Cell::Scaled},
                                          {"SESSIONS", "sessions"},
                                          {"DROPS/S", "drops", admin::Cell::Scaled}};
constexpr admin::Column kRemoteColumns[] = {{"REMOTE", "remote"},
                                            {"SESSIONS", "sessions"},
                                            {"OUT_BIT/S", "out_bits", admin::Cell::Scaled},
                                            {"IN_BIT/S", "in_bits", admin::Cell::Scaled}};
constexpr double kBits = 8;

std::uint64_t number(const Top::Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

std::string text(const Top::Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

std::uint64_t sum(const Top::Json& object, const char* key) {
  std::uint64_t all = 0;
  if (const auto found = object.find(key); found != object.end())
    for (const auto& [name, count] : found->items())
      if (count.is_number_unsigned()) all += count.get<std::uint64_t>();
  return all;
}

// A counter that has become smaller has begun anew.
double rate(std::uint64_t now, std::uint64_t before, double seconds) {
  return static_cast<double>(now >= before ? now - before : now) / seconds;
}

void sort_busiest_first(Top::Json& rows) {
  const auto bits = [](const Top::Json& row) {
    return row["out_bits"].get<double>() + row["in_bits"].get<double>();
  };
  std::ranges::stable_sort(rows.get_ref<Top::Json::array_t&>(), std::greater<>{}, bits);
}

void print(std::ostream& out, std::span<const admin::Column> columns, const Top::Json& rows,
           std::size_t most) {
  Table table(columns, out);
  for (std::size_t i = 0; i < std::min(most, rows.size()); ++i) table.add(rows[i]);
  table.finish();
  if (rows.size() > most) out << "... and " << rows.size() - most << " more\n";
}

}  // namespace

// What a VM sends is what its port receives; the uplink's row is turned the same way: out is what it sends to us.
void Top::take_port(const Json& port) {
  traffic_[text(port, "name")] = {.out_bytes = number(port, "rx_bytes"),
                                  .in_bytes = number(port, "tx_bytes"),
                                  .out_packets = number(port, "rx_packets"),
                                  .in_packets = number(port, "tx_packets"),
                                  .drops = sum(port, "drops")};
  ports_.push_back(port);
}

void Top::take_session(const Json& session) {
  ++sessions_of_port_[text(session, "port")];
  const std::string key = text(session, "protocol") + ' ' + text(session, "internal") + ' ' +
                          text(session, "external") + ' ' + text(session, "remote");
  const Traffic now{.out_bytes = number(session, "bytes_out"), .in_bytes = number(session, "bytes_in")};
  sessions_.insert_or_assign(key, now);
  const auto found = former_sessions_.find(key);
  const Traffic before =
      found == former_sessions_.end() || found->second.out_bytes > now.out_bytes ? Traffic{} : found->second;
  const std::string endpoint = text(session, "remote");
  Remote& remote = remotes_[endpoint.substr(0, endpoint.find(':'))];
  ++remote.sessions;
  remote.out_bytes += now.out_bytes - before.out_bytes;
  remote.in_bytes += now.in_bytes - std::min(now.in_bytes, before.in_bytes);
}

Top::Json Top::port_row(const Json& port, double seconds) const {
  const std::string name = text(port, "name");
  const Traffic now = traffic_.at(name);
  const auto found = former_ports_.find(name);
  const Traffic before = found == former_ports_.end() ? now : found->second;
  Json row{{"name", name},
           {"network", text(port, "network")},
           {"address", port.value("address", Json())},
           {"out_bits", kBits * rate(now.out_bytes, before.out_bytes, seconds)},
           {"in_bits", kBits * rate(now.in_bytes, before.in_bytes, seconds)},
           {"out_packets", rate(now.out_packets, before.out_packets, seconds)},
           {"in_packets", rate(now.in_packets, before.in_packets, seconds)},
           {"sessions", nullptr},
           {"drops", rate(now.drops, before.drops, seconds)}};
  if (const auto sessions = sessions_of_port_.find(name); sessions != sessions_of_port_.end())
    row["sessions"] = sessions->second;
  return row;
}

std::optional<Top::Round> Top::end_round(Time now) {
  std::optional<Round> round;
  if (former_end_ && now > *former_end_) {
    const double seconds = std::chrono::duration<double>(now - *former_end_).count();
    round.emplace();
    for (const Json& port : ports_) round->ports.push_back(port_row(port, seconds));
    for (const auto& [name, remote] : remotes_)
      round->remotes.push_back({{"remote", name},
                                {"sessions", remote.sessions},
                                {"out_bits", kBits * static_cast<double>(remote.out_bytes) / seconds},
                                {"in_bits", kBits * static_cast<double>(remote.in_bytes) / seconds}});
    sort_busiest_first(round->ports);
    sort_busiest_first(round->remotes);
  }
  former_end_ = now;
  former_ports_ = std::exchange(traffic_, {});
  former_sessions_ = std::exchange(sessions_, {});
  ports_.clear();
  remotes_.clear();
  sessions_of_port_.clear();
  return round;
}

std::string top_text(const Top::Round& round, std::size_t rows) {
  std::ostringstream out;
  print(out, kPortColumns, round.ports, rows);
  if (!round.remotes.empty()) {
    out << '\n';
    print(out, kRemoteColumns, round.remotes, rows);
  }
  return out.str();
}

}  // namespace vmnat::ctl
