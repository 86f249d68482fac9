// SPDX-License-Identifier: Apache-2.0
#include "control/translations/datagrams.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <system_error>

namespace vmnat::control {
namespace {

FileDescriptor connected(int family, const sockaddr* address, socklen_t size) {
  FileDescriptor made(socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (made.is_open() && ::connect(made.number(), address, size) != 0) return {};
  return made;
}

}  // namespace

bool Datagrams::connect() {
  if (socket_.is_open()) return true;
  const bool is_connected = path_.empty() ? connect_to_host() : connect_to_path();
  if (is_connected) problem_.clear();
  return is_connected;
}

bool Datagrams::connect_to_host() {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(host_.c_str(), port_.c_str(), &hints, &list); error != 0) {
    problem_ = fmt::format("{} has no address: {}", host_, gai_strerror(error));
    return false;
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(list, freeaddrinfo);
  socket_ = connected(AF_INET, list->ai_addr, list->ai_addrlen);
  if (!socket_.is_open())
    problem_ = fmt::format("{}:{}: {}", host_, port_, std::generic_category().message(errno));
  return socket_.is_open();
}

bool Datagrams::connect_to_path() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  socket_ = connected(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (!socket_.is_open()) problem_ = fmt::format("{}: {}", path_, std::generic_category().message(errno));
  return socket_.is_open();
}

bool Datagrams::send(const void* bytes, std::size_t size) {
  if (!socket_.is_open()) return false;
  if (::send(socket_.number(), bytes, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size)) {
    problem_.clear();
    return true;
  }
  problem_ = fmt::format("{}: {}", path_.empty() ? host_ + ":" + port_ : path_,
                         std::generic_category().message(errno));
  if (errno == ENOTCONN || errno == ECONNRESET || (errno == ECONNREFUSED && !path_.empty())) socket_ = {};
  return false;
}

}  // namespace vmnat::control
