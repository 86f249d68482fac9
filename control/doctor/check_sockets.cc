// SPDX-License-Identifier: Apache-2.0
// vhost-user sockets: who may use them, who listens, and whether the VM's memory is shared.
#include <algorithm>
#include <filesystem>

#include "control/doctor/examine.h"
#include "control/doctor/named_devices.h"

namespace vmnat::doctor {
namespace {

using config::VhostMode;

std::string object_of(const config::VmPort& port) {
  return "port " + port.name;
}

const LivePort* live_port(const Patient& patient, const std::string& name) {
  if (patient.live == nullptr) return nullptr;
  const auto found = std::ranges::find(patient.live->ports, name, &LivePort::name);
  return found == patient.live->ports.end() ? nullptr : &*found;
}

// Whoever is attached has come through. Without libvirt, and by the default group, VMMs may well be root's.
bool may_be_kept_out(const Patient& patient, const SocketPort& of) {
  const LivePort* const live = live_port(patient, of.port->name);
  if (live != nullptr && live->attachment == Attachment::Attached) return false;
  return of.group != config::VhostUser{}.group ||
         std::ranges::any_of(patient.host.qemu_users, [](const auto& user) { return user.second.is_there; });
}

void check_directory(const SocketPort& of, const SocketFacts& socket, Findings& findings) {
  const std::string parent = std::filesystem::path(of.port->vhost_user).parent_path();
  const bool must_create = of.port->mode == VhostMode::Client && !socket.group_may_create;
  if (socket.closed_directory.empty() && !must_create) return;
  const std::string& directory = socket.closed_directory.empty() ? parent : socket.closed_directory;
  findings.add("socket-directory-closed", object_of(*of.port),
               fmt::format("group {} may not {} {}", of.group,
                           socket.closed_directory.empty() ? "write to" : "search", directory),
               fmt::arg("group", of.group), fmt::arg("directory", directory),
               fmt::arg("mode", must_create ? "g+rwx" : "g+x"));
}

void check_file(const Patient& patient, const SocketPort& of, const SocketFacts& socket, Findings& findings) {
  const std::string& path = of.port->vhost_user;
  if (!socket.exists) return;
  const auto unusable = [&](const std::string& why) {
    findings.add("socket-unusable", object_of(*of.port), fmt::format("{} {}", path, why),
                 fmt::arg("socket", path), fmt::arg("group", of.group));
  };
  if (!socket.is_socket) return unusable("is no socket");
  if (of.port->mode == VhostMode::Client) {
    const bool is_known = patient.live != nullptr || patient.host.user == "root";
    if (is_known && !socket.may_connect) unusable(fmt::format("does not let {} connect", patient.host.user));
    return;
  }
  if (patient.live == nullptr || (socket.group == socket.wanted_group && socket.mode == of.mode)) return;
  findings.add("socket-rights-differ", object_of(*of.port),
               fmt::format("{} is of group {} and mode {:04o}, and is to be of {} ({}) and {:04o}", path,
                           socket.group, socket.mode, of.group, socket.wanted_group, of.mode),
               fmt::arg("group", of.group), fmt::arg("socket", path),
               fmt::arg("mode", fmt::format("{:04o}", of.mode)));
}

void check_pairing(const SocketPort& of, const SocketFacts& socket, const std::vector<VmmFacts>& vmms,
                   Findings& findings) {
  const auto listener = std::ranges::find(vmms, true, &VmmFacts::listens);
  const auto connector = std::ranges::find(vmms, false, &VmmFacts::listens);
  const auto port = fmt::arg("port", of.port->name);
  const std::string& path = of.port->vhost_user;
  if (of.port->mode == VhostMode::Server && (listener != vmms.end() || socket.listeners > 1))
    findings.add("both-listen", object_of(*of.port),
                 listener != vmms.end()
                     ? fmt::format("{} listens on {}, and so does vmnatd", listener->process, path)
                     : fmt::format("{} sockets listen on {}", socket.listeners, path),
                 port);
  if (of.port->mode == VhostMode::Client && connector != vmms.end())
    findings.add("both-connect", object_of(*of.port),
                 fmt::format("{} connects to {}, and so does vmnatd", connector->process, path), port);
}

// A VMM has seconds to tell its memory once the guest's driver has agreed to features.
void check_memory_of(const Patient& patient, const SocketPort& of, const std::vector<VmmFacts>& vmms,
                     Findings& findings) {
  constexpr std::chrono::seconds kPatience{3};
  const auto private_one = std::ranges::find(vmms, false, &VmmFacts::shares_memory);
  const LivePort* const live = live_port(patient, of.port->name);
  const bool is_missing =
      live != nullptr && live->attachment == Attachment::NoMemory && live->unchanged >= kPatience;
  if (private_one == vmms.end() && !is_missing) return;
  findings.add("vm-memory-not-shared", object_of(*of.port),
               is_missing ? fmt::format("its VMM has agreed to features {} s ago, and shown no memory",
                                        live->unchanged.count())
                          : fmt::format("{} has no memory with share=on", private_one->process),
               fmt::arg("port", of.port->name));
}

void check_libvirt(const Patient& patient, const std::vector<SocketPort>& ports, Findings& findings) {
  if (ports.empty()) return;
  const std::string& group = ports.front().group;
  for (const auto& [user, facts] : patient.host.qemu_users)
    if (facts.is_there && !facts.is_in_group)
      findings.add("qemu-outside-group", "user " + user, fmt::format("{} is not in group {}", user, group),
                   fmt::arg("group", group), fmt::arg("user", user),
                   fmt::arg("primary", facts.primary_group));
  if (patient.host.has_apparmor_for_libvirt)
    findings.add("apparmor-qemu", "host", "AppArmor is on, and has libvirt's profile");
}

}  // namespace

void check_sockets(const Patient& patient, Findings& findings) {
  static const std::vector<VmmFacts> kNobody;
  const auto ports = socket_ports(patient.config);
  for (const SocketPort& of : ports) {
    const auto vmms = patient.host.vmms.find(of.port->vhost_user);
    const auto& known = vmms == patient.host.vmms.end() ? kNobody : vmms->second;
    if (const auto socket = patient.host.sockets.find(of.port->vhost_user);
        socket != patient.host.sockets.end()) {
      if (may_be_kept_out(patient, of)) check_directory(of, socket->second, findings);
      check_file(patient, of, socket->second, findings);
      check_pairing(of, socket->second, known, findings);
    }
    check_memory_of(patient, of, known, findings);
  }
  check_libvirt(patient, ports, findings);
}

}  // namespace vmnat::doctor
