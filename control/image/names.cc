// SPDX-License-Identifier: Apache-2.0
#include "control/image/names.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace vmnat::control {
namespace {

using Json = nlohmann::json;

template <typename Value, typename Predicate>
std::optional<std::vector<Value>> list_in(const Json& object, const char* key, Predicate is_one) {
  const auto list = object.find(key);
  if (list == object.end() || !list->is_array() || !std::ranges::all_of(*list, is_one)) return std::nullopt;
  return list->template get<std::vector<Value>>();
}

bool is_text(const Json& value) {
  return value.is_string();
}

bool is_worker(const Json& value) {
  return value.is_number_unsigned() && value.get<std::uint64_t>() < kNoWorker;
}

std::map<std::string, std::string> texts_of(const std::map<std::string, net::Ipv4Addr>& addresses) {
  std::map<std::string, std::string> texts;
  for (const auto& [uplink, address] : addresses) texts.emplace(uplink, net::to_string(address));
  return texts;
}

// What a process that knew one uplink has not written; what is none is left out.
std::map<std::string, net::Ipv4Addr> more_rented_in(const Json& object) {
  std::map<std::string, net::Ipv4Addr> rented;
  const auto found = object.find("more_rented");
  if (found == object.end() || !found->is_object()) return rented;
  for (const auto& [uplink, text] : found->items()) {
    const auto address =
        text.is_string() ? net::parse_ipv4(text.get_ref<const std::string&>()) : std::nullopt;
    if (address) rented.emplace(uplink, *address);
  }
  return rented;
}

}  // namespace

std::string to_json(const SessionNames& names) {
  const Json json{{"ports", names.ports},       {"owners", names.owners},
                  {"networks", names.networks}, {"rented", net::to_string(names.rented)},
                  {"uplinks", names.uplinks},   {"more_rented", texts_of(names.more_rented)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<SessionNames> names_in(std::string_view json) {
  const Json object = Json::parse(json, nullptr, false);
  if (!object.is_object()) return std::nullopt;
  auto ports = list_in<std::string>(object, "ports", is_text);
  auto owners = list_in<WorkerIndex>(object, "owners", is_worker);
  auto networks = list_in<std::string>(object, "networks", is_text);
  const auto rented = object.find("rented");
  if (!ports || !owners || !networks || rented == object.end() || !rented->is_string()) return std::nullopt;
  const auto address = net::parse_ipv4(rented->get_ref<const std::string&>());
  if (!address) return std::nullopt;
  return SessionNames{*std::move(ports),
                      *std::move(owners),
                      *std::move(networks),
                      *address,
                      list_in<std::string>(object, "uplinks", is_text).value_or(std::vector<std::string>{}),
                      more_rented_in(object)};
}

}  // namespace vmnat::control
