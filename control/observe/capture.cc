// SPDX-License-Identifier: Apache-2.0
#include "control/observe/capture.h"

#include <fmt/format.h>
#include <rte_cycles.h>
#include <utility>

namespace vmnat::control {
namespace {

using dataplane::Observation;
using dataplane::Record;
using dataplane::Sight;
using pcapng::Way;

pcapng::WallTime now() {
  return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
}

Way way_of(Sight sight) {
  return sight == Sight::Transmitted ? Way::Outbound : Way::Inbound;
}

std::string description_of(const PortPlan& port) {
  if (!port.is_uplink) return "vmnat port " + port.name;
  return port.name == "uplink" ? "vmnat uplink" : "vmnat uplink " + port.name;
}

}  // namespace

Capture::Capture(std::unique_ptr<Observer> observer, const std::vector<PortPlan>& ports, Settings settings)
    : observer_(std::move(observer)),
      records_(observer_->observation()),
      ports_(ports),
      settings_(std::move(settings)),
      clock_(settings_.tsc_hz),
      began_(now()) {}

bool Capture::read(pcapng::Bytes& to, std::size_t most_bytes) {
  clock_.set(rte_rdtsc(), now());
  if (!std::exchange(has_begun_, true)) begin(to);
  while (to.size() < most_bytes) {
    const Record* record = records_.next();
    if (record == nullptr) return ends_at_ == UINT64_MAX;
    if (record->tsc > ends_at_) return false;
    add(*record, to);
    if (captured_ == settings_.count) return false;
  }
  return true;
}

void Capture::end() {
  ends_at_ = rte_rdtsc();
}

void Capture::begin(pcapng::Bytes& to) {
  pcapng::add_section(to, settings_.program);
  const Observation& observation = observer_->observation();
  for (std::size_t i = 0; i < ports_.size(); ++i)
    if (const auto port = static_cast<PortIndex>(i); ports_[i].exists)
      if (observation.scope != Observation::Scope::Port || observation.port == port) interface_of(port, to);
}

void Capture::finish(pcapng::Bytes& to) {
  for (const auto& [port, seen] : interfaces_)
    pcapng::add_statistics(to, {.interface = seen.interface,
                                .begin = began_,
                                .end = now(),
                                .captured = seen.captured,
                                .missed = observer_->missed(port)});
}

// Ports come while it goes on, and a number may have a new user.
Capture::Seen& Capture::interface_of(PortIndex port, pcapng::Bytes& to) {
  const std::string& name = ports_[port].name;
  const auto known = interfaces_.find(port);
  if (known != interfaces_.end() && (known->second.name == name || name.empty())) return known->second;
  pcapng::add_interface(to, {.name = name,
                             .description = description_of(ports_[port]),
                             .filter = settings_.expression,
                             .snap = observer_->observation().snap});
  return interfaces_[port] = {.interface = interface_count_++, .name = name};
}

void Capture::add(const Record& record, pcapng::Bytes& to) {
  std::string comment = record.sight == Sight::Received ? "received" : "transmitted";
  if (record.sight == Sight::Dropped) {
    comment = fmt::format("dropped: {}: {}", dataplane::kDropNames[index_of(record.reason)],
                          dataplane::kDropTexts[index_of(record.reason)]);
    if (record.towards < ports_.size() && record.towards != record.port)
      comment += fmt::format("; it was to leave by {}", ports_[record.towards].name);
  }
  Seen& seen = interface_of(record.port, to);
  ++seen.captured;
  ++captured_;
  pcapng::add_packet(to, {.interface = seen.interface,
                          .time = clock_.at(record.tsc),
                          .length = record.length,
                          .kept = {static_cast<const std::byte*>(record.bytes()), record.kept},
                          .way = way_of(record.sight),
                          .comment = comment});
}

}  // namespace vmnat::control
