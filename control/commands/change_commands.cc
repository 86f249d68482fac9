// SPDX-License-Identifier: Apache-2.0
#include "control/commands/change_commands.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "control/config/reload.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;
using admin::Pull;

// What a change has answered, and the generation of the state that says so to the workers.
struct Made {
  Json object;
  std::uint64_t generation;
};

// Makes a change, after one that is under way, and answers when the workers go by it. What is refused only then
// breaks the answer off with the reason.
Result<Answer> answer_to(const CommandContext& at, std::function<Result<Json>()> make) {
  const auto make_now = [at, make = std::move(make)]() -> Result<Made> {
    auto object = make();
    if (!object) return tl::unexpected(object.error());
    return Made{*std::move(object), at.states.current().generation};
  };
  std::optional<Made> made;
  if (!at.is_change_under_way()) {
    auto now = make_now();
    if (!now) return tl::unexpected(now.error());
    made = *std::move(now);
  }
  return Answer::object_later([at, make_now, made = std::move(made)](Json& item) mutable {
    if (at.is_change_under_way()) return Pull::Later;
    if (!made) {
      auto now = make_now();
      if (!now) throw std::runtime_error(to_string(now.error()));
      made = *std::move(now);
    }
    if (at.is_change_under_way() || at.workers.least_seen_generation() < made->generation) return Pull::Later;
    item = made->object;
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
Result<Json> preview(const CommandContext& at) {
  const auto proposal = at.configuration.reread();
  if (!proposal) return tl::unexpected(proposal.error());
  const Changes changes = compare(at.config, proposal->wanted);
  Json refused;
  if (changes.restart.empty())
    if (const auto room = at.has_room(proposal->wanted); !room) refused = to_string(room.error());
  return Json{{"changed", changes.live},
              {"held", changes.held},
              {"restart", changes.restart},
              {"refused", refused},
              {"can_be_applied", changes.restart.empty() && refused.is_null()}};
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
  if (*is_dry) return answer_to(at, [at] { return preview(at); });
  return answer_to(at, [reload = at.reload]() -> Result<Json> {
    auto changed = reload();
    if (!changed) return tl::unexpected(changed.error());
    return Json{{"changed", *std::move(changed)}};
  });
}

Result<Answer> edit_configuration(const CommandContext& at, const std::string& command,
                                  const Json& arguments) {
  const auto request = request_of(command, arguments);
  if (!request) return tl::unexpected(request.error());
  return answer_to(at, [edit = at.edit, request = *request]() -> Result<Json> {
    auto changed = edit(request);
    if (!changed) return tl::unexpected(changed.error());
    return Json{{"changed", *std::move(changed)}, {"persistent", request.lasting == Lasting::Persistent}};
  });
}

}  // namespace vmnat::control
