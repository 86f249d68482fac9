// SPDX-License-Identifier: Apache-2.0
// A message of RFC 5424 for each translation, to this host's syslog or by UDP (RFC 5426) to another's:
//
//   <30>1 2026-01-01T12:00:00.125Z host vmnatd 4711 created - {"time":...}
//
// Facility daemon, severity informational (section 6.2.1), the event for a MSGID, no structured data, and the line of JSON.
#include <array>
#include <fmt/compile.h>
#include <unistd.h>
#include <utility>

#include "control/translations/datagrams.h"
#include "control/translations/line.h"
#include "control/translations/sink.h"

namespace vmnat::control {
namespace {

constexpr const char* kLocal = "/dev/log";
constexpr unsigned kPriority = 3 * 8 + 6;

std::string own_host() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "-";
}

class Syslog final : public Sink {
 public:
  explicit Syslog(Datagrams datagrams)
      : datagrams_(std::move(datagrams)), sender_(fmt::format("{} vmnatd {}", own_host(), getpid())) {
    datagrams_.connect();
  }

  void write(const Translation& translation) override {
    message_.clear();
    fmt::format_to(std::back_inserter(message_), FMT_COMPILE("<{}>1 "), kPriority);
    append_time(translation.time, message_);
    fmt::format_to(std::back_inserter(message_), FMT_COMPILE(" {} {} - "), sender_,
                   to_string(translation.event));
    append_json(translation, message_);
    if (!datagrams_.send(message_.data(), message_.size())) ++unwritten_;
  }
  std::uint64_t flush() override { return std::exchange(unwritten_, 0); }
  void look_again() override { datagrams_.connect(); }
  [[nodiscard]] const std::string& problem() const override { return datagrams_.problem(); }

 private:
  Datagrams datagrams_;
  const std::string sender_;
  Buffer message_;
  std::uint64_t unwritten_ = 0;
};

}  // namespace

std::unique_ptr<Sink> make_syslog(const std::string& host, const std::string& port) {
  return std::make_unique<Syslog>(host.empty() ? Datagrams(kLocal) : Datagrams(host, port));
}

}  // namespace vmnat::control
