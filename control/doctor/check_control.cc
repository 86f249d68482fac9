// SPDX-License-Identifier: Apache-2.0
// vmnatd's own files and sockets.
#include "control/doctor/examine.h"
#include "net/address.h"

namespace vmnat::doctor {
namespace {

constexpr std::uint64_t kRoomForLeases = 16 << 20;

// The rights of whoever asks are vmnatd's own, or as good.
bool sees_as_vmnatd(const Patient& patient) {
  return patient.live != nullptr || patient.host.user == "root";
}

void check_state_dir(const Patient& patient, Findings& findings) {
  const std::string& path = patient.config.control.state_dir;
  const DirectoryFacts& directory = patient.host.state_dir;
  const bool is_usable = directory.is_there ? directory.is_writable : directory.may_be_created;
  if (!is_usable && sees_as_vmnatd(patient))
    findings.add("state-dir-unwritable", "control.state_dir",
                 fmt::format("{} {}", path, directory.is_there ? "cannot be written to" : "cannot be made"),
                 fmt::arg("directory", path), fmt::arg("user", patient.host.user));
  else if (directory.is_there && directory.free_bytes < kRoomForLeases)
    findings.add("state-dir-full", "control.state_dir",
                 fmt::format("{} KiB are free on the file system of {}", directory.free_bytes >> 10, path),
                 fmt::arg("directory", path));
  if (patient.live != nullptr && !patient.live->lease_problem.empty())
    findings.add("leases-not-kept", "control.state_dir", patient.live->lease_problem,
                 fmt::arg("directory", path));
}

void check_metrics(const Patient& patient, Findings& findings) {
  const auto& metrics = patient.config.control.metrics;
  if (!metrics || metrics->address.kind() == net::AddressKind::Loopback) return;
  const std::string seen = fmt::format("control.metrics is {}", net::to_string(*metrics));
  const std::uint16_t number = metrics->port.host();
  const auto port = fmt::arg("port", number);
  if (patient.config.control.token_file)
    findings.add("token-in-clear", "control.metrics", seen + ", and control.token_file is given", port);
  findings.add("metrics-open", "control.metrics", seen, port);
}

}  // namespace

void check_control(const Patient& patient, Findings& findings) {
  const config::Control& control = patient.config.control;
  for (const std::string& name : patient.host.unknown_accounts)
    findings.add("admin-group-unknown", "control", fmt::format("there is no {} on this machine", name),
                 fmt::arg("name", name));
  if (!patient.host.closed_to_admins.empty())
    findings.add("admin-socket-closed", "control.socket",
                 fmt::format("group {} may not search {}", control.group, patient.host.closed_to_admins),
                 fmt::arg("directory", patient.host.closed_to_admins), fmt::arg("group", control.group));
  check_state_dir(patient, findings);
  check_metrics(patient, findings);
  if (patient.host.are_processes_hidden)
    findings.add("processes-hidden", "host",
                 fmt::format("{} does not see other users' processes", patient.host.user));
}

}  // namespace vmnat::doctor
