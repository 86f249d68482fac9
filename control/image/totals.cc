// SPDX-License-Identifier: Apache-2.0
#include "control/image/totals.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "dataplane/frame/drop_reasons.h"

namespace vmnat::control {
namespace {

using Json = nlohmann::json;

bool is_count(const Json& value) {
  return value.is_number_unsigned();
}

bool are_counts(const Json& list) {
  return std::ranges::all_of(list, is_count);
}

std::string name_of(dataplane::DropReason reason) {
  return fmt::format("drop.{}", dataplane::kDropNames[index_of(reason)]);
}

// The members of an object or the elements of an array, as `write` appends them.
void write_all(std::string& text, char open, char close, const auto& all, auto write) {
  text += open;
  for (bool is_first = true; const auto& one : all) {
    if (!std::exchange(is_first, false)) text += ',';
    write(one);
  }
  text += close;
}

std::uint64_t sum_of(Totals& totals, std::initializer_list<const char*> names) {
  return std::accumulate(names.begin(), names.end(), std::uint64_t{0},
                         [&](std::uint64_t sum, const char* name) { return sum + totals.counters[name]; });
}

}  // namespace

// Once a second and at each scrape, of a thousand ports: without an object for each number on the way.
std::string to_json(const Totals& totals) {
  std::string text = "{\"counters\":";
  const auto write_text = [&](const std::string& value) {
    text += Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  const auto write_count = [&](std::uint64_t count) { text += fmt::format_int(count).c_str(); };
  const auto write_key = [&](const std::string& key) {
    write_text(key);
    text += ':';
  };
  write_all(text, '{', '}', totals.counters, [&](const auto& counter) {
    write_key(counter.first);
    write_count(counter.second);
  });
  text += ",\"columns\":";
  write_all(text, '[', ']', totals.columns, write_text);
  text += ",\"ports\":";
  write_all(text, '{', '}', totals.ports, [&](const auto& port) {
    write_key(port.first);
    write_all(text, '[', ']', port.second, write_count);
  });
  return text + '}';
}

std::optional<Totals> totals_in(std::string_view json) {
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  const Json counters = object.value("counters", Json());
  const Json columns = object.value("columns", Json());
  const Json ports = object.value("ports", Json());
  if (!counters.is_object() || !columns.is_array() || !ports.is_object()) return std::nullopt;
  const bool are_ports = std::ranges::all_of(ports, [&](const Json& row) {
    return row.is_array() && row.size() == columns.size() && are_counts(row);
  });
  if (!are_counts(counters) || !are_ports ||
      !std::ranges::all_of(columns, [](const Json& name) { return name.is_string(); }))
    return std::nullopt;
  return Totals{counters.get<decltype(Totals::counters)>(), columns.get<decltype(Totals::columns)>(),
                ports.get<decltype(Totals::ports)>()};
}

void settle_frames(Totals& totals) {
  const std::uint64_t came = sum_of(totals, {"received", "flood_copies", "injected", "generated"});
  std::uint64_t ended = sum_of(totals, {"transmitted", "punted", "segments.merged"});
  for (const std::string_view reason : dataplane::kDropNames)
    ended += totals.counters[fmt::format("drop.{}", reason)];
  if (came >= ended)
    totals.counters[name_of(dataplane::DropReason::Restart)] += came - ended;
  else
    totals.counters["received"] += ended - came;  // they have ended, so they came
}

void settle_sessions(Totals& totals, const conntrack::Revivals& found) {
  using conntrack::Revival;
  const auto all = std::accumulate(found.begin(), found.end(), std::uint64_t{0});
  const std::uint64_t restored = found[static_cast<unsigned>(Revival::Restored)];
  const std::uint64_t timed_out = found[static_cast<unsigned>(Revival::TimedOut)];
  const std::uint64_t ended =
      sum_of(totals, {"sessions.expired", "sessions.flushed", "sessions.early_dropped", "sessions.lost"});
  std::uint64_t& created = totals.counters["sessions.created"];
  created = std::max(created, ended + all);
  totals.counters["sessions.expired"] += created - ended - all + timed_out;
  totals.counters["sessions.lost"] += all - restored - timed_out;
}

}  // namespace vmnat::control
