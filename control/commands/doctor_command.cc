// SPDX-License-Identifier: Apache-2.0
#include "control/commands/doctor_command.h"

#include <nlohmann/json.hpp>

#include "control/commands/live_facts.h"
#include "control/doctor/examine.h"
#include "control/doctor/report.h"

namespace vmnat::control {

using admin::Answer;
using admin::Json;
using admin::Pull;

namespace {

template <typename Future>
bool is_ready(const Future& future) {
  return future.wait_for(std::chrono::seconds{0}) == std::future_status::ready;
}

}  // namespace

DoctorCommand::Visit DoctorCommand::begin() const {
  return std::async(std::launch::async,
                    [config = at_.config, live = live_facts(at_)] {
                      const doctor::HostFacts host = doctor::gather_host(config);
                      return doctor::examine({.config = config, .host = host, .live = &live});
                    })
      .share();
}

Result<Answer> DoctorCommand::start() {
  if (!last_.valid() || is_ready(last_)) last_ = begin();
  return Answer::list([visit = last_, next = std::size_t{0}](Json& item) mutable {
    if (!is_ready(visit)) return Pull::Later;
    if (next == visit.get().size()) return Pull::End;
    item = doctor::to_json(visit.get()[next++]);
    return Pull::Item;
  });
}

}  // namespace vmnat::control
