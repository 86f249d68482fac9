// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/rented_address.h"

#include <utility>

namespace vmnat::control {

void RentedAddress::set(net::Ipv4Addr address) {
  value_ = address;
  if (uplink_.empty())
    session_keeper_.set_rented(address);
  else
    session_keeper_.set_rented(uplink_, address);
}

void RentedAddress::give_up() {
  is_given_up_ = true;
  awaited_state_ = states_.current().generation + 1;
}

std::optional<std::uint64_t> RentedAddress::poll() {
  if (workers_.least_seen_generation() < awaited_state_) return std::nullopt;
  if (!flush_)
    flush_.emplace(workers_, turns_,
                   dataplane::SessionSelector{.external = {{.address = value_, .port = {}}}});
  const auto ended = flush_->poll();
  if (!ended) return std::nullopt;
  flush_.reset();
  is_given_up_ = false;
  set({});
  return ended;
}

}  // namespace vmnat::control
