// SPDX-License-Identifier: Apache-2.0
#include "bench/kernel/sides.h"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <system_error>

namespace vmnat::bench {
namespace {

control::FileDescriptor open_namespace(const std::string& path) {
  return control::FileDescriptor{checked(::open(path.c_str(), O_RDONLY | O_CLOEXEC), path.c_str())};
}

// An endpoint as the socket calls take and give it.
struct Address {
  sockaddr_in value{.sin_family = AF_INET};
  socklen_t length = sizeof value;

  Address() = default;
  explicit Address(net::Endpoint end) {
    value.sin_addr.s_addr = end.address.raw();
    value.sin_port = end.port.raw();
  }
  sockaddr* generic() { return static_cast<sockaddr*>(static_cast<void*>(&value)); }
  [[nodiscard]] net::Endpoint end() const {
    return {net::Ipv4Addr::from_raw(value.sin_addr.s_addr), net::L4Port::from_raw(value.sin_port)};
  }
};

net::Ipv4Addr address_of(const std::string& text) {
  const auto address = net::parse_ipv4(text);
  if (!address) throw CLI::ValidationError("'" + text + "' is not an IPv4 address");
  return *address;
}

}  // namespace

int run_between(int argc, char** argv, const std::string& description,
                const std::function<std::string(const Sides&)>& measure) {
  Sides sides;
  std::string address;
  double seconds = sides.duration.count();
  CLI::App app{description};
  app.add_option("--inside", sides.inside, "network namespace of the gateway's inside, a file");
  app.add_option("--outside", sides.outside, "network namespace of its outside, a file")->required();
  app.add_option("--address", address, "IPv4 address of the outside")->required();
  app.add_option("--seconds", seconds, "duration of the measurement")->capture_default_str();
  app.add_option("--vm", sides.vm, "vhost-user socket for a VM on the inside");
  app.add_option("--cpu", sides.cpu, "of the VM")->capture_default_str();
  app.add_flag("--back", sides.is_back, "the outside sends");
  try {
    app.parse(argc, argv);
    sides.address = address_of(address);
    sides.duration = Seconds{seconds};
    fmt::print("{}\n", measure(sides));
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

Visit::Visit(const std::string& network_namespace) : home_(open_namespace("/proc/thread-self/ns/net")) {
  checked(::setns(open_namespace(network_namespace).number(), CLONE_NEWNET), network_namespace.c_str());
}
Visit::~Visit() {
  ::setns(home_.number(), CLONE_NEWNET);
}

Socket socket_in(const std::string& network_namespace, int type, std::chrono::milliseconds patience) {
  const Visit visit(network_namespace);
  Socket socket{checked(::socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket")};
  const timeval limit{.tv_sec = patience.count() / 1000, .tv_usec = patience.count() % 1000 * 1000};
  for (const int direction : {SO_RCVTIMEO, SO_SNDTIMEO})
    checked(::setsockopt(socket.number(), SOL_SOCKET, direction, &limit, sizeof limit), "socket timeout");
  return socket;
}

void set_option(const Socket& socket, int level, int name, int value) {
  checked(::setsockopt(socket.number(), level, name, &value, sizeof value), "socket option");
}

void bind_to(const Socket& socket, net::L4Port port) {
  Address address({{}, port});
  checked(::bind(socket.number(), address.generic(), address.length), "bind");
}

void connect_to(const Socket& socket, net::Endpoint remote) {
  Address address(remote);
  const int result = ::connect(socket.number(), address.generic(), address.length);
  if (result < 0 && errno == EINPROGRESS) errno = ETIMEDOUT;  // the socket's patience is over
  checked(result, "connect through the gateway");
}

net::Endpoint local_end(const Socket& socket) {
  Address address;
  checked(::getsockname(socket.number(), address.generic(), &address.length), "getsockname");
  return address.end();
}

net::Endpoint remote_end(const Socket& socket) {
  Address address;
  checked(::getpeername(socket.number(), address.generic(), &address.length), "getpeername");
  return address.end();
}

bool send_byte(const Socket& socket) {
  const char byte = 0;
  return ::send(socket.number(), &byte, 1, MSG_NOSIGNAL) == 1;
}

bool receive_byte(const Socket& socket, net::Endpoint* from) {
  char byte = 0;
  Address address;
  if (::recvfrom(socket.number(), &byte, 1, 0, address.generic(), &address.length) != 1) return false;
  if (from != nullptr) *from = address.end();
  return true;
}

}  // namespace vmnat::bench
