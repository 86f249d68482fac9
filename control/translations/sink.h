// SPDX-License-Identifier: Apache-2.0
// Sink: where the log of translations goes. Used by the log's thread alone, which may wait for it.
#pragma once

#include <memory>
#include <string>

#include "control/config/model.h"
#include "control/translations/translation.h"

namespace vmnat::control {

class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(const Translation& translation) = 0;
  // What was written since the last call is passed on. Answers how many translations of them could not be.
  virtual std::uint64_t flush() = 0;
  // Once a second, and when `now` after a signal: a file that was renamed is left, and made anew; a host is looked up.
  virtual void look_again() = 0;
  // What is wrong at present; empty: nothing.
  [[nodiscard]] virtual const std::string& problem() const = 0;
};

std::unique_ptr<Sink> make_json_file(const std::string& path);
std::unique_ptr<Sink> make_syslog(const std::string& host, const std::string& port);  // empty: this host's
std::unique_ptr<Sink> make_ipfix_exporter(const std::string& host, const std::string& port);
std::unique_ptr<Sink> make_sink(const config::LogTarget& target);

}  // namespace vmnat::control
