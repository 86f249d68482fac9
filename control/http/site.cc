// SPDX-License-Identifier: Apache-2.0
#include "control/http/site.h"

#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "control/admin/commands.h"
#include "control/http/page.h"

namespace vmnat::http {
namespace {

using admin::Access;
using admin::Answer;
using admin::Json;
using admin::Pull;

constexpr std::string_view kApi = "/api/";
constexpr const char* kText = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* kOpenMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";

// Styles by their hash, the script by its path; and the script may make no markup of any text.
std::string policy_of_page() {
  return "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
         "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types "
         "'none'; "
         "style-src '" +
         std::string{kPageStyle} + "'";
}

// The page's file at a path; nothing: there is none.
std::optional<Response> file_at(const std::string& path) {
  if (path == "/")
    return Response{
        .type = "text/html; charset=utf-8", .policy = policy_of_page(), .body = whole(std::string{kPage})};
  if (path == "/page.js")
    return Response{.type = "text/javascript; charset=utf-8", .body = whole(std::string{kScript})};
  return std::nullopt;
}

std::string text_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// What an argument is, by its name: options are text. Nothing: it is not.
std::optional<Json> argument(const std::string& name, const std::string& value) {
  if (name == "limit") {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (value.empty() || error != std::errc{} || end != value.data() + value.size()) return std::nullopt;
    return number;
  }
  if (name != "count") return value;
  if (value.empty() || value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  return std::nullopt;
}

// The options of a command that looks; an Error says which one is not right.
control::Result<Json> arguments_of(const admin::Command& command, const Target& target) {
  Json arguments = Json::object();
  for (const auto& [name, value] : target.options) {
    if (command.arguments == admin::Arguments::None)
      return tl::unexpected(control::Error{name, "'" + std::string{command.name} + "' has no options"});
    const auto read = argument(name, value);
    if (!read) return tl::unexpected(control::Error{name, "cannot be '" + value + "'"});
    if (arguments.contains(name)) return tl::unexpected(control::Error{name, "is given twice"});
    arguments[name] = *read;
  }
  return arguments;
}

// The elements of a list, an array around them; of an object, it alone.
class AnswerText {
 public:
  explicit AnswerText(Answer answer) : answer_(std::move(answer)) {}

  Pull next(std::string& piece) {
    const bool is_list = answer_.kind() == Answer::Kind::List;
    if (is_list && !has_begun_) piece += "[";
    has_begun_ = true;
    Json item;
    switch (answer_.next(item)) {
      case Pull::Later:
        return Pull::Later;
      case Pull::End:
        piece += is_list ? "]\n" : "\n";
        return Pull::End;
      case Pull::Item:
        break;
    }
    if (is_list && items_++ > 0) piece += ",\n";
    piece += text_of(item);
    if (is_list) return Pull::Item;
    piece += "\n";
    return Pull::End;
  }

 private:
  Answer answer_;
  bool has_begun_ = false;
  std::uint64_t items_ = 0;
};

Response not_allowed(const char* allow) {
  Response response = Site::error(405, std::string{"only "} + allow + " is answered here");
  response.allow = allow;
  return response;
}

}  // namespace

Body whole(std::string text) {
  return [text = std::move(text)](std::string& piece) {
    piece += text;
    return Pull::End;
  };
}

Response Site::error(unsigned status, const std::string& what) {
  return {.status = status,
          .type = "application/json",
          .body = whole(text_of({{"ok", false}, {"error", what}}) + "\n")};
}

Response Site::answer(const Request& request) const {
  const auto target = parse_target(request.target);
  if (!target) return error(400, "the target is not a path with options");
  if (target->path.starts_with(kApi)) return command(request, *target);
  auto file = file_at(target->path);
  if (!file && target->path != "/metrics")
    return error(404, "there is nothing at this path; / tells what there is");
  if (request.method != Method::Get && request.method != Method::Head) return not_allowed("GET, HEAD");
  if (file) return *std::move(file);
  const Exposition exposition = preferred_exposition(request.accept);
  return {.type = exposition == Exposition::OpenMetrics ? kOpenMetrics : kText, .body = metrics_(exposition)};
}

Response Site::command(const Request& request, const Target& target) const {
  const std::string name = target.path.substr(kApi.size());
  const admin::Command* const command = admin::find_command(name);
  if (command == nullptr) return error(404, "there is no command '" + name + "'");
  if (request.access < command->access)
    return error(403, "'" + name + "' changes something; whoever asks here may look only");
  const bool is_change = command->access == Access::Change;
  const bool is_asked = request.method == Method::Get || request.method == Method::Head;
  if (is_change ? request.method != Method::Post : !is_asked)
    return not_allowed(is_change ? "POST" : "GET, HEAD");

  auto arguments = arguments_of(*command, target);
  if (!arguments) return error(400, to_string(arguments.error()));
  if (is_change && !request.body.empty()) {
    *arguments = Json::parse(request.body, nullptr, false);
    if (!arguments->is_object()) return error(400, "the body is not a JSON object of arguments");
  }
  auto answer = ask_(name, request.access, *arguments);
  if (!answer) return error(400, to_string(answer.error()));
  const auto text = std::make_shared<AnswerText>(*std::move(answer));
  return {.type = "application/json", .body = [text](std::string& piece) { return text->next(piece); }};
}

}  // namespace vmnat::http
