// SPDX-License-Identifier: Apache-2.0
// VMs that are there, as vmnatd sees them.
#include <fmt/ranges.h>

#include "control/doctor/examine.h"

namespace vmnat::doctor {
namespace {

// Firmware and kernels take their time between agreeing to features and the first frame.
constexpr std::chrono::seconds kUntilFrames{30};

std::string features_text(const LivePort& port) {
  return port.features.empty() ? "none" : fmt::format("{}", fmt::join(port.features, ", "));
}

void check_silence(const LivePort& port, Findings& findings) {
  const std::string object = "port " + port.name;
  const auto name = fmt::arg("port", port.name);
  const bool is_there =
      port.is_up && port.attachment == Attachment::Attached && port.unchanged >= kUntilFrames;
  if (!is_there || port.since_change.received != 0) return;
  const auto up_for = port.unchanged.count();
  if (port.since_change.taken == 0 && port.since_change.untaken > 0)
    findings.add("vm-takes-nothing", object,
                 fmt::format("up for {} s without a frame, and no buffer for {} frames; features: {}", up_for,
                             port.since_change.untaken, features_text(port)),
                 name);
  else
    findings.add("vm-sends-nothing", object,
                 fmt::format("up for {} s without a frame; features: {}", up_for, features_text(port)), name);
}

void check_counts(const LivePort& port, Findings& findings) {
  const std::string object = "port " + port.name;
  const auto name = fmt::arg("port", port.name);
  const PortCounts& recent = port.recent;
  if (recent.refused_connections > 0)
    findings.add(
        "vm-second-connection", object,
        fmt::format("{} connections to {} were refused lately", recent.refused_connections, port.socket),
        fmt::arg("socket", port.socket));
  if (recent.refused_messages > 0)
    findings.add("vmm-messages-refused", object,
                 fmt::format("{} messages were refused lately", recent.refused_messages));
  if (recent.spoofed > 0)
    findings.add("vm-spoofs", object, fmt::format("{} frames were dropped for it lately", recent.spoofed),
                 name);
  if (recent.over_budget > 0)
    findings.add("vm-over-budget", object,
                 fmt::format("{} frames were dropped for it lately", recent.over_budget), name);
}

}  // namespace

void check_guests(const Patient& patient, Findings& findings) {
  if (patient.live == nullptr) return;
  for (const LivePort& port : patient.live->ports) {
    check_silence(port, findings);
    check_counts(port, findings);
  }
}

}  // namespace vmnat::doctor
