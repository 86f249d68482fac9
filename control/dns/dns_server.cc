// SPDX-License-Identifier: Apache-2.0
#include "control/dns/dns_server.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <filesystem>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <system_error>

#include "control/system/whole_file.h"

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kShortestPause{1}, kLongestPause{60};
constexpr std::size_t kLongestLine = 1000;

}  // namespace

DnsServer::DnsServer(boost::asio::io_context& io, std::string network, std::string directory)
    : network_(std::move(network)), directory_(std::move(directory)), timer_(io), end_(io), output_(io) {}

DnsServer::~DnsServer() {
  try {
    stop();
    fs::remove_all(directory_);
  } catch (const std::exception& left) {  // files of no harm
    spdlog::warn("DNS of network {}: {}", network_, left.what());
  } catch (...) {
  }
}

void DnsServer::serve(const config::Network& network) {
  std::string configuration = dnsmasq_configuration(network, {.hosts_directory = hosts_directory()});
  if (configuration == configuration_) return;
  configuration_ = std::move(configuration);
  stop();
  pause_ = kShortestPause;
  start();
}

// The new file comes from outside of the directory that is watched, whole.
void DnsServer::know(const std::string& hosts) {
  if (hosts == hosts_) return;
  const std::string fresh = directory_ + "/names";
  std::error_code error;
  fs::create_directories(hosts_directory(), error);
  auto written = replace_file(fresh, hosts, Writing::Fast);
  if (written) fs::rename(fresh, hosts_directory() + "/names", error);
  if (!written || error)
    return spdlog::error("DNS of network {}: its names cannot be written to {}: {}", network_, fresh,
                         written ? error.message() : written.error().what);
  hosts_ = hosts;
}

void DnsServer::start() {
  std::error_code error;
  fs::create_directories(hosts_directory(), error);
  const std::string path = directory_ + "/dnsmasq.conf";
  if (const auto written = replace_file(path, configuration_, Writing::Fast); !written)
    return start_again(to_string(written.error()));
  auto process = ChildProcess::start({kProgram, "--conf-file=" + path}, kProgram);
  if (!process) return start_again(to_string(process.error()));
  process_.emplace(std::move(*process));
  started_ = std::chrono::steady_clock::now();
  problem_.clear();
  end_.assign(process_->descriptor());
  output_.assign(process_->output());
  watch();
  hear();
}

void DnsServer::watch() {
  end_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                  [this](const boost::system::error_code& error) {
                    if (error) return;
                    const std::string end = process_->take_end();
                    stop();
                    start_again(fmt::format("{} has ended: {}", kProgram, end));
                  });
}

void DnsServer::hear() {
  output_.async_read_some(boost::asio::buffer(buffer_),
                          [this](const boost::system::error_code& error, std::size_t bytes) {
                            if (error) return;
                            take_words(bytes);
                            hear();
                          });
}

void DnsServer::take_words(std::size_t bytes) {
  for (const char c : std::string_view{buffer_.data(), bytes}) {
    if (c != '\n' && line_.size() < kLongestLine) {
      line_ += c;
      continue;
    }
    spdlog::info("DNS of network {}: {}", network_, line_);
    line_.clear();
  }
}

void DnsServer::start_again(const std::string& reason) {
  const bool has_lasted = std::chrono::steady_clock::now() - started_ > kLongestPause;
  if (has_lasted) pause_ = kShortestPause;
  problem_ = fmt::format("DNS of network {}: {}; it is started again", network_, reason);
  spdlog::error("{} in {} s", problem_, pause_.count());
  timer_.expires_after(pause_);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) start();
  });
  pause_ = std::min(2 * pause_, kLongestPause);
}

// What is heard of it by handlers that are on their way is of none any more.
void DnsServer::stop() {
  timer_.cancel();
  if (end_.is_open()) end_.release();
  if (output_.is_open()) output_.release();
  process_.reset();
}

}  // namespace vmnat::control
