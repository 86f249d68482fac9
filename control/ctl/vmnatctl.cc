// SPDX-License-Identifier: Apache-2.0
// One request, and its answer in the form that was asked for.
#include "control/ctl/vmnatctl.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "control/admin/client.h"
#include "control/ctl/command_line.h"
#include "control/ctl/render.h"
#include "control/ctl/vm_recipe.h"

namespace vmnat::ctl {
namespace {

using Asked = tl::expected<admin::Answer::Kind, admin::CallError>;

Exit fail(const admin::CallError& error, std::ostream& err) {
  err << "vmnatctl: " << error.what << '\n';
  return error.kind == admin::CallError::Kind::CannotConnect ? Exit::CannotConnect : Exit::DaemonError;
}

Asked ask(const CommandLine& line, const std::function<void(const Json&)>& on_element) {
  return admin::call(line.socket, line.command, line.arguments,
                     [&](std::string_view text) { on_element(Json::parse(text, nullptr, false)); });
}

bool answers_a_list(const CommandLine& line) {
  return !columns_of(line.command).empty() && !line.arguments.contains("count");
}

// The lines of JSON as they come, as one array when it is a list. An array that broke off is left open: it
// must not look like the whole.
Exit print_json(const CommandLine& line, std::ostream& out, std::ostream& err) {
  std::string_view separator = answers_a_list(line) ? "[\n" : "";
  const auto kind = admin::call(line.socket, line.command, line.arguments, [&](std::string_view element) {
    out << separator << element;
    separator = ",\n";
  });
  if (!kind) return fail(kind.error(), err);
  const bool is_empty_list = separator == "[\n";
  if (answers_a_list(line)) out << (is_empty_list ? "[]" : "\n]");
  out << '\n';
  return Exit::Ok;
}

Exit print_table(const CommandLine& line, std::ostream& out, std::ostream& err) {
  Table table(columns_of(line.command), out);
  std::string below;
  const auto kind = ask(line, [&](const Json& element) {
    table.add(element);
    if (line.command == "workers") below += stages_text(element);
  });
  if (!kind) return fail(kind.error(), err);
  table.finish();
  out << below;
  return Exit::Ok;
}

Exit print_conntrack(const CommandLine& line, std::ostream& out, std::ostream& err) {
  const auto kind = ask(line, [&](const Json& element) { out << conntrack_line(element); });
  return kind ? Exit::Ok : fail(kind.error(), err);
}

std::string text_of(const CommandLine& line, const Json& answer) {
  if (line.command == "status") return status_text(answer);
  if (line.command == "counters") return counters_text(answer);
  if (line.command == "reload") return reload_text(answer);
  if (line.command == "config") return answer.value("yaml", "");
  if (line.command == "sessions") return plain_text(answer.value("count", Json())) + "\n";
  if (line.command.starts_with("lease-") || line.command.starts_with("reserve-"))
    return dhcp_change_text(line.command, answer);
  if (line.command == "flush") return plain_text(answer.value("flushed", Json())) + " sessions ended\n";
  return answer.dump(2) + "\n";
}

Exit print_text(const CommandLine& line, std::ostream& out, std::ostream& err) {
  const auto kind = ask(line, [&](const Json& answer) { out << text_of(line, answer); });
  return kind ? Exit::Ok : fail(kind.error(), err);
}

// qemu-args and libvirt-xml are made here, from what `ports` says.
Exit print_recipe(const CommandLine& line, std::ostream& out, std::ostream& err) {
  CommandLine ports = line;
  ports.command = "ports";
  Json found;
  const auto kind = ask(ports, [&](const Json& port) {
    if (port.value("name", "") == line.port) found = port;
  });
  if (!kind) return fail(kind.error(), err);
  if (found.is_null()) {
    err << "vmnatctl: there is no port '" << line.port << "' (vmnatctl ports lists them)\n";
    return Exit::DaemonError;
  }
  const VmRecipe recipe = recipe_for(found, line.mac);
  if (recipe.socket.empty()) {
    err << "vmnatctl: port '" << line.port << "' is not a vhost-user port\n";
    return Exit::DaemonError;
  }
  const std::string text =
      line.command == "qemu-args" ? qemu_arguments(recipe, line.memory) : libvirt_xml(recipe);
  out << (line.json ? Json{{line.command, text}}.dump() + "\n" : text);
  return Exit::Ok;
}

Exit run(const CommandLine& line, std::ostream& out, std::ostream& err) {
  if (!line.port.empty()) return print_recipe(line, out, err);
  if (line.json) return print_json(line, out, err);
  const bool is_list = answers_a_list(line);
  if (is_list && line.format == SessionFormat::Conntrack) return print_conntrack(line, out, err);
  return is_list ? print_table(line, out, err) : print_text(line, out, err);
}

}  // namespace

int run_vmnatctl(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  const auto parsed = parse_command_line(arguments, out, err);
  if (const Exit* exit = std::get_if<Exit>(&parsed)) return static_cast<int>(*exit);
  const Exit exit = run(std::get<CommandLine>(parsed), out, err);
  out.flush();
  return static_cast<int>(exit);
}

}  // namespace vmnat::ctl
