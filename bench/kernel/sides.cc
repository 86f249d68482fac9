// SPDX-License-Identifier: Apache-2.0
#include "bench/kernel/sides.h"

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/time.h>
#include <system_error>

namespace vmnat::bench {
namespace {

int checked(int result, const std::string& what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

control::FileDescriptor open_namespace(const std::string& path) {
  return control::FileDescriptor{checked(::open(path.c_str(), O_RDONLY | O_CLOEXEC), path)};
}

// The calling thread is in the namespace for as long as this lives.
class Visit {
 public:
  explicit Visit(const std::string& path) : home_(open_namespace("/proc/thread-self/ns/net")) {
    checked(::setns(open_namespace(path).number(), CLONE_NEWNET), path);
  }
  ~Visit() { ::setns(home_.number(), CLONE_NEWNET); }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  control::FileDescriptor home_;
};

const sockaddr* generic(const sockaddr_in& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

}  // namespace

Sides parse_sides(int argc, char** argv, const char* description) {
  Sides sides;
  double seconds = sides.duration.count();
  CLI::App app{description};
  app.add_option("--inside", sides.inside, "network namespace of the gateway's inside, a file")->required();
  app.add_option("--outside", sides.outside, "network namespace of its outside, a file")->required();
  app.add_option("--address", sides.address, "IPv4 address of the outside")->required();
  app.add_option("--seconds", seconds, "duration of the measurement")->capture_default_str();
  app.add_flag("--back", sides.is_back, "the outside sends");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  sides.duration = Seconds{seconds};
  return sides;
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

void bind_to(const Socket& socket, std::uint16_t port) {
  const sockaddr_in address = endpoint("0.0.0.0", port);
  checked(::bind(socket.number(), generic(address), sizeof address), "bind");
}

void connect_to(const Socket& socket, const sockaddr_in& remote) {
  checked(::connect(socket.number(), generic(remote), sizeof remote), "connect through the gateway");
}

sockaddr_in endpoint(const std::string& address, std::uint16_t port) {
  sockaddr_in result{.sin_family = AF_INET, .sin_port = htons(port)};
  if (::inet_pton(AF_INET, address.c_str(), &result.sin_addr) != 1)
    throw std::runtime_error("'" + address + "' is not an IPv4 address");
  return result;
}

}  // namespace vmnat::bench
