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

}  // namespace

std::string to_json(const SessionNames& names) {
  const Json json{{"ports", names.ports},
                  {"owners", names.owners},
                  {"networks", names.networks},
                  {"rented", net::to_string(names.rented)}};
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
  return SessionNames{*std::move(ports), *std::move(owners), *std::move(networks), *address};
}

}  // namespace vmnat::control
