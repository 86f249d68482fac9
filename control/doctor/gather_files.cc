// SPDX-License-Identifier: Apache-2.0
// Sockets, processes, accounts, directories and programs.
#include <algorithm>
#include <array>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "control/config/resolvers.h"
#include "control/doctor/gather.h"
#include "control/doctor/named_devices.h"
#include "control/system/accounts.h"
#include "control/system/child_process.h"
#include "control/system/sysfs.h"
#include "control/system/unix_socket.h"

namespace vmnat::doctor {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  constexpr std::size_t kMost = 256 << 10;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMost, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return text;
}

// Listening sockets by path: "...: 00000002 00000000 00010000 0001 01 12345 /run/vmnat/vm1.sock" (unix(7)).
std::map<std::string, unsigned> unix_listeners(const fs::path& root) {
  std::map<std::string, unsigned> count;
  std::ifstream file(root / "proc/net/unix");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string number, references, protocol, flags, type, state, inode, path;
    words >> number >> references >> protocol >> flags >> type >> state >> inode >> path;
    if (flags == "00010000" && !path.empty()) ++count[path];
  }
  return count;
}

bool may_group_write(const fs::path& directory, gid_t group) {
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) return true;  // vmnatd makes it
  return (status.st_mode & (status.st_gid == group ? S_IWGRP : S_IWOTH)) != 0;
}

SocketFacts socket_at(const std::string& path, const std::string& group_name) {
  SocketFacts facts;
  struct stat status {};
  const gid_t group = control::group_id(group_name).value_or(0);
  facts.wanted_group = group;
  if (stat(path.c_str(), &status) == 0) {
    facts.exists = true;
    facts.is_socket = S_ISSOCK(status.st_mode);
    facts.may_connect = faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0;
    facts.group = status.st_gid;
    facts.mode = status.st_mode & 0777;
  }
  const fs::path parent = fs::path(path).parent_path();
  std::error_code error;
  if (group == 0 || !fs::exists(parent, error)) return facts;  // VMMs are root's, or vmnatd makes it
  facts.closed_directory = control::closed_directory(path, group).value_or("");
  facts.group_may_create = may_group_write(parent, group);
  return facts;
}

// Arguments are separated by zeroes.
std::vector<std::string> arguments_in(const std::string& command_line) {
  std::vector<std::string> arguments;
  std::istringstream parts(command_line);
  for (std::string part; std::getline(parts, part, '\0');) arguments.push_back(part);
  return arguments;
}

// "socket,id=c,path=/run/vmnat/vm1.sock,server=on": of this path?
bool names_socket(const std::string& argument, const std::string& path) {
  const std::string key = "path=" + path;
  const auto at = argument.find(key);
  if (at == std::string::npos) return false;
  const auto end = at + key.size();
  return end == argument.size() || argument[end] == ',';
}

bool says_server(const std::string& argument) {
  return argument.find(",server=on") != std::string::npos || argument.find(",server,") != std::string::npos ||
         argument.ends_with(",server");
}

bool says_shared(const std::string& argument) {
  return std::ranges::any_of(std::array{"share=on", "share=yes", "share=true", "\"share\":true"},
                             [&](const char* word) { return argument.find(word) != std::string::npos; });
}

void look_at_process(const std::string& pid, const std::vector<std::string>& arguments,
                     const std::vector<SocketPort>& ports, HostFacts& facts) {
  const std::string program = arguments.empty() ? "" : fs::path(arguments.front()).filename().string();
  if (!program.starts_with("qemu")) return;
  for (const SocketPort& of : ports)
    for (const std::string& argument : arguments)
      if (names_socket(argument, of.port->vhost_user))
        facts.vmms[of.port->vhost_user].push_back(
            {.process = fmt::format("{} ({})", program, pid),
             .listens = says_server(argument),
             .shares_memory = std::ranges::any_of(arguments, says_shared)});
}

AccountFacts account_of(const std::string& user, const std::string& group) {
  const auto wanted = control::group_id(group);
  const auto own = control::primary_group(user);
  const bool is_roots = wanted.value_or(0) == 0;  // so are its VMMs
  return {.is_there = own.has_value() && !is_roots,
          .is_in_group = wanted && control::is_in_group(user, *wanted),
          .primary_group = own ? std::to_string(*own) : ""};
}

bool is_in_force(const fs::path& root, const char* profile) {
  std::error_code error;
  const fs::path file = root / "etc/apparmor.d" / profile;
  if (!fs::exists(file, error) || fs::exists(root / "etc/apparmor.d/disable" / profile, error)) return false;
  return text_of(file).find("complain") == std::string::npos;
}

// UDP's port 53: "  12: 0100007F:0035 00000000:0000 07 ..." (proc(5)).
std::vector<net::Ipv4Addr> dns_listeners(const fs::path& root) {
  std::vector<net::Ipv4Addr> found;
  std::ifstream file(root / "proc/net/udp");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string number, local;
    words >> number >> local;
    if (!local.ends_with(":0035")) continue;
    const auto address = static_cast<std::uint32_t>(std::strtoul(local.c_str(), nullptr, 16));
    found.push_back(net::Ipv4Addr::from_raw(address));
  }
  return found;
}

}  // namespace

void gather_sockets(const config::Config& config, const fs::path& root, HostFacts& facts) {
  const auto listeners = unix_listeners(root);
  for (const SocketPort& of : socket_ports(config)) {
    SocketFacts socket = socket_at(of.port->vhost_user, of.group);
    if (const auto found = listeners.find(of.port->vhost_user); found != listeners.end())
      socket.listeners = found->second;
    facts.sockets.emplace(of.port->vhost_user, std::move(socket));
  }
}

void gather_vmms(const config::Config& config, const fs::path& root, HostFacts& facts) {
  const auto ports = socket_ports(config);
  if (ports.empty()) return;
  std::error_code error;
  facts.are_processes_hidden = !fs::exists(root / "proc/1/cmdline", error);
  for (const auto& entry : fs::directory_iterator(root / "proc", error))
    if (const std::string pid = entry.path().filename(); control::whole_number(pid))
      look_at_process(pid, arguments_in(text_of(entry.path() / "cmdline")), ports, facts);
}

void gather_accounts(const config::Config& config, HostFacts& facts) {
  facts.user = control::user_name(geteuid());
  const config::Control& control = config.control;
  const auto group = control.group.empty() ? std::optional<gid_t>{0} : control::group_id(control.group);
  if (!group) facts.unknown_accounts.push_back("group " + control.group);
  for (const std::string& admin : control.admins)
    if (!control::user_id(admin)) facts.unknown_accounts.push_back("user " + admin);
  std::error_code error;
  if (group && *group != 0 && fs::exists(fs::path(control.socket).parent_path(), error))
    facts.closed_to_admins = control::closed_directory(control.socket, *group).value_or("");
  for (const char* user : {"libvirt-qemu", "qemu"})
    for (const SocketPort& of : socket_ports(config)) facts.qemu_users[user] = account_of(user, of.group);
}

void gather_state_directory(const config::Config& config, HostFacts& facts) {
  DirectoryFacts& directory = facts.state_dir;
  fs::path path = config.control.state_dir;
  std::error_code error;
  directory.is_there = fs::is_directory(path, error);
  while (!fs::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  directory.is_writable = faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) == 0;
  directory.may_be_created = directory.is_writable && fs::is_directory(path, error);
  struct statvfs system {};
  if (statvfs(path.c_str(), &system) != 0) return;
  directory.free_bytes = std::uint64_t{system.f_bavail} * system.f_frsize;
}

void gather_services(const fs::path& root, HostFacts& facts) {
  facts.dns_listeners = dns_listeners(root);
  const std::string files[] = {root / "etc/resolv.conf", root / "run/systemd/resolve/resolv.conf",
                               root / "run/NetworkManager/no-stub-resolv.conf"};
  const char* const paths[] = {files[0].c_str(), files[1].c_str(), files[2].c_str()};
  facts.resolvers = config::first_resolvers(paths);
  facts.has_dnsmasq = control::has_program("dnsmasq");
  const bool has_apparmor = control::first_line(root / "sys/module/apparmor/parameters/enabled") == "Y";
  std::error_code error;
  facts.has_apparmor_for_libvirt =
      has_apparmor && fs::exists(root / "etc/apparmor.d/libvirt/TEMPLATE.qemu", error);
  facts.has_apparmor_for_dnsmasq = has_apparmor && is_in_force(root, "usr.sbin.dnsmasq");
  facts.is_tun_usable = access((root / "dev/net/tun").c_str(), R_OK | W_OK) == 0;
}

}  // namespace vmnat::doctor
