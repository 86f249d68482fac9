// SPDX-License-Identifier: Apache-2.0
// A socket of datagrams towards a host that is looked up by name, or towards a UNIX socket.
#pragma once

#include <string>

#include "control/system/file_descriptor.h"

namespace vmnat::control {

class Datagrams {
 public:
  // UDP. `host` is a name or an IPv4 address.
  Datagrams(std::string host, std::string port) : host_(std::move(host)), port_(std::move(port)) {}
  // A UNIX socket.
  explicit Datagrams(std::string path) : path_(std::move(path)) {}

  // Connects, unless it is. False: `problem` says why.
  bool connect();
  // False: it was not sent, and the socket is closed if nobody is there. Does not wait.
  bool send(const void* bytes, std::size_t size);
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  bool connect_to_host();
  bool connect_to_path();

  const std::string host_, port_, path_;
  FileDescriptor socket_;
  std::string problem_;
};

}  // namespace vmnat::control
