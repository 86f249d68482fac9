// SPDX-License-Identifier: Apache-2.0
// DnsServer: dnsmasq(8) for one network, as a child process that is started again when it ends.
//
// After an end it is started again within a second, and each time that it ends within a minute the pause is twice as
// long, up to a minute. Its words go to our log, and so do its ends.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <optional>
#include <string>

#include "base/time.h"
#include "control/dns/dns_text.h"
#include "control/system/child_process.h"

namespace vmnat::control {

class DnsServer {
 public:
  static constexpr const char* kProgram = "dnsmasq";

  // `directory` is this server's alone. `network` is for messages.
  DnsServer(boost::asio::io_context& io, std::string network, std::string directory);
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;
  ~DnsServer();  // ends it, and removes what it was told

  // Starts it, or starts it anew where the configuration is another one.
  void serve(const config::Network& network);
  // The names that it knows from within a moment on.
  void know(const std::string& hosts);
  // A sentence; empty: it runs.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  void start();
  void watch();
  void hear();
  void take_words(std::size_t bytes);
  void start_again(const std::string& reason);
  void stop();
  [[nodiscard]] std::string hosts_directory() const { return directory_ + "/hosts"; }

  std::string network_, directory_;
  std::string configuration_, hosts_;
  std::string problem_;
  std::optional<ChildProcess> process_;
  std::string line_;  // its output, as far as it is no whole line
  std::array<char, 4096> buffer_{};
  std::chrono::seconds pause_{1};
  SteadyTime started_{};
  boost::asio::steady_timer timer_;
  // Their descriptors are the process's.
  boost::asio::posix::stream_descriptor end_, output_;
};

}  // namespace vmnat::control
