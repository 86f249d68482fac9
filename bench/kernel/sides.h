// SPDX-License-Identifier: Apache-2.0
// The two sides of a gateway between kernel interfaces, as one program sees them.
//
// A socket belongs to the network namespace in which it was made, wherever its process is. So a program that enters
// both sides' namespaces once holds both ends of every flow, and needs no server, protocol or clock besides its own:
//
//   inside 10.77.0.2  ---veth--- gateway ---veth---  outside 198.18.0.1
#pragma once

#include <chrono>
#include <cstdint>
#include <netinet/in.h>
#include <string>

#include "control/system/file_descriptor.h"

namespace vmnat::bench {

using Socket = control::FileDescriptor;
using Seconds = std::chrono::duration<double>;

struct Sides {
  std::string inside, outside;  // network namespaces, as files: /proc/PID/fd/N
  std::string address;          // of the outside
  Seconds duration{1};          // of the measurement
  bool is_back = false;         // the outside sends
};

// The command line; exits on --help and on what it does not understand.
Sides parse_sides(int argc, char** argv, const char* description);

// A socket of `network_namespace`; its calls give up after `patience`. Here and below std::system_error says what failed.
Socket socket_in(const std::string& network_namespace, int type, std::chrono::milliseconds patience);
// SOL_SOCKET's and IPPROTO_TCP's options that are a number.
void set_option(const Socket& socket, int level, int name, int value);
void bind_to(const Socket& socket, std::uint16_t port);
void connect_to(const Socket& socket, const sockaddr_in& remote);
sockaddr_in endpoint(const std::string& address, std::uint16_t port);

}  // namespace vmnat::bench
