// SPDX-License-Identifier: Apache-2.0
#include "control/commands/change_commands.h"

#include <nlohmann/json.hpp>

#include "control/config/reload.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;
using admin::Pull;

// The answer, when all workers have finished a poll with what was published last.
Answer when_workers_use_it(const CommandContext& at, Json object) {
  const std::uint64_t generation = at.states.current().generation;
  return Answer::object_later([&workers = at.workers, generation, object = std::move(object)](Json& item) {
    if (workers.least_seen_generation() < generation) return Pull::Later;
    item = object;
    return Pull::Item;
  });
}

// A flag; an Error where it is anything but true or false.
Result<bool> flag(const Json& arguments, const char* name) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return false;
  if (!found->is_boolean()) return tl::unexpected(Error{name, "must be true or false"});
  return found->get<bool>();
}

// What a reload would do.
Result<Answer> preview(const CommandContext& at) {
  const auto proposal = at.configuration.reread();
  if (!proposal) return tl::unexpected(proposal.error());
  const Changes changes = compare(at.config, proposal->wanted);
  return Answer::object({{"changed", changes.live},
                         {"held", changes.held},
                         {"restart", changes.restart},
                         {"can_be_applied", changes.restart.empty()}});
}

Result<EditRequest> request_of(const std::string& command, const Json& arguments) {
  EditRequest request{.command = command, .arguments = {}};
  const auto persistent = flag(arguments, "persistent");
  if (!persistent) return tl::unexpected(persistent.error());
  request.lasting = *persistent ? Lasting::Persistent : Lasting::UntilRestart;
  for (const auto& [name, value] : arguments.items()) {
    if (name == "persistent") continue;
    if (!value.is_string()) return tl::unexpected(Error{name, "must be a text"});
    request.arguments[name] = value;
  }
  return request;
}

}  // namespace

Result<Answer> reload(const CommandContext& at, const Json& arguments) {
  for (const auto& [name, value] : arguments.items())
    if (name != "dry_run") return tl::unexpected(Error{name, "is not an argument of this command"});
  const auto is_dry = flag(arguments, "dry_run");
  if (!is_dry) return tl::unexpected(is_dry.error());
  if (*is_dry) return preview(at);
  auto changed = at.reload();
  if (!changed) return tl::unexpected(changed.error());
  return when_workers_use_it(at, {{"changed", *std::move(changed)}});
}

Result<Answer> edit_configuration(const CommandContext& at, const std::string& command,
                                  const Json& arguments) {
  const auto request = request_of(command, arguments);
  if (!request) return tl::unexpected(request.error());
  auto changed = at.edit(*request);
  if (!changed) return tl::unexpected(changed.error());
  return when_workers_use_it(
      at, {{"changed", *std::move(changed)}, {"persistent", request->lasting == Lasting::Persistent}});
}

}  // namespace vmnat::control
