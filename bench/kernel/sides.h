// SPDX-License-Identifier: Apache-2.0
// The two sides of a gateway between kernel interfaces, as one program sees them.
//
// A socket belongs to the network namespace in which it was made, wherever its process is. So a program that enters
// both sides' namespaces once holds both ends of every flow, and needs no server, protocol or clock besides its own:
//
//   inside 10.77.0.2  eth0 === gateway === eth0  outside 198.18.0.1
//
// What fails throws std::system_error or std::runtime_error, down to run_between.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "control/system/file_descriptor.h"
#include "net/address.h"

namespace vmnat::bench {

using Socket = control::FileDescriptor;
using Seconds = std::chrono::duration<double>;

inline constexpr char kInterface[] = "eth0";  // of either side

struct Sides {
  std::string inside, outside;  // network namespaces, as files: /proc/PID/fd/N
  net::Ipv4Addr address;        // of the outside
  Seconds duration{1};          // of the measurement
  bool is_back = false;         // the outside sends
  std::string vm;               // a VM on the inside: its vhost-user socket
  unsigned cpu = 0;             // of the VM
};

// A program's main: reads the sides from the command line, and prints what `measure` answers, or what went wrong.
int run_between(int argc, char** argv, const std::string& description,
                const std::function<std::string(const Sides&)>& measure);

// The calling thread is in the namespace for as long as this lives.
class Visit {
 public:
  explicit Visit(const std::string& network_namespace);
  ~Visit();
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  control::FileDescriptor home_;
};

// `result`, unless it is negative, as of a system call that failed.
int checked(int result, const char* what);

// A socket of IPv4, whose calls give up after `patience`.
Socket socket_in(const std::string& network_namespace, int type, std::chrono::milliseconds patience);
void set_option(const Socket& socket, int level, int name, int value);
void bind_to(const Socket& socket, net::L4Port port);
void connect_to(const Socket& socket, net::Endpoint remote);
net::Endpoint local_end(const Socket& socket);
net::Endpoint remote_end(const Socket& socket);

// One byte; `from`, if given, is who sent it. False when it does not go or come.
bool send_byte(const Socket& socket);
bool receive_byte(const Socket& socket, net::Endpoint* from = nullptr);

}  // namespace vmnat::bench
