// SPDX-License-Identifier: Apache-2.0
// One request, and its answer in the form that was asked for.
#include "control/ctl/vmnatctl.h"

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <thread>
#include <unistd.h>

#include "control/admin/client.h"
#include "control/ctl/capture_file.h"
#include "control/ctl/command_line.h"
#include "control/ctl/conntrack_text.h"
#include "control/ctl/doctor.h"
#include "control/ctl/exits.h"
#include "control/ctl/import_libvirt.h"
#include "control/ctl/render.h"
#include "control/ctl/text_in.h"
#include "control/ctl/trace_print.h"
#include "control/ctl/vm_recipe.h"
#include "control/ctl/watch_print.h"
#include "control/ctl/who.h"

namespace vmnat::ctl {
namespace {

using Kind = admin::Answer::Kind;
using Asked = tl::expected<Kind, admin::CallError>;

Asked ask(const CommandLine& line, const std::function<void(Kind, const Json&)>& on_element) {
  return admin::call(line.socket, line.command, line.arguments, [&](Kind kind, std::string_view text) {
    on_element(kind, Json::parse(text, nullptr, false));
  });
}

// The lines of JSON as they come, as one array when it is a list. An array that broke off is left open: it
// must not look like the whole.
Exit print_json(const CommandLine& line, std::ostream& out, std::ostream& err) {
  bool is_empty = true;
  const auto kind =
      admin::call(line.socket, line.command, line.arguments, [&](Kind of, std::string_view element) {
        out << (!is_empty ? ",\n" : of == Kind::List ? "[\n" : "") << element;
        is_empty = false;
      });
  if (!kind) return fail(kind.error(), err);
  if (*kind == Kind::List) out << (is_empty ? "[]" : "\n]");
  out << '\n';
  return Exit::Ok;
}

Exit print_conntrack(const CommandLine& line, std::ostream& out, std::ostream& err) {
  const auto kind = ask(line, [&](Kind, const Json& session) { out << conntrack_line(session); });
  return kind ? Exit::Ok : fail(kind.error(), err);
}

// A list as a table, an object as its command's text.
Exit print_text(const CommandLine& line, std::ostream& out, std::ostream& err) {
  const admin::Command* command = admin::find_command(line.command);
  Table table(command == nullptr ? std::span<const admin::Column>{} : command->columns, out);
  std::string below;
  const auto kind = ask(line, [&](Kind of, const Json& element) {
    if (of == Kind::Object) {
      out << object_text(line.command, element);
      return;
    }
    table.add(element);
    if (line.command == "workers") below += stages_text(element);
  });
  if (!kind) return fail(kind.error(), err);
  if (*kind == Kind::List) table.finish();
  out << below;
  return Exit::Ok;
}

// qemu-args and libvirt-xml are made here, from what `ports` says.
Exit print_recipe(const CommandLine& line, std::ostream& out, std::ostream& err) {
  CommandLine ports = line;
  ports.command = "ports";
  Json found;
  const auto kind = ask(ports, [&](Kind, const Json& port) {
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

Exit print_import(const CommandLine& line, std::ostream& out, std::ostream& err) {
  const auto xml = text_in(line.file);
  const auto yaml = xml ? import_libvirt(*xml, line.file) : tl::unexpected(line.file + " cannot be read");
  if (!yaml) {
    err << "vmnatctl: " << yaml.error() << '\n';
    return Exit::DaemonError;
  }
  out << (line.json ? Json{{line.command, *yaml}}.dump() + "\n" : *yaml);
  return Exit::Ok;
}

// One round's questions; the error of the first that has no answer.
std::optional<admin::CallError> ask_for_round(const CommandLine& line, Top& top) {
  CommandLine question = line;
  const auto answer = [&](const char* command, const std::function<void(const Json&)>& take) {
    question.command = command;
    const auto asked = ask(question, [&](Kind, const Json& element) { take(element); });
    return asked ? std::nullopt : std::optional{asked.error()};
  };
  std::uint64_t sessions = 0;
  if (auto error = answer("status", [&](const Json& status) {
        sessions = status.value("/sessions/active"_json_pointer, std::uint64_t{0});
      }))
    return error;
  if (auto error = answer("ports", [&](const Json& port) { top.take_port(port); })) return error;
  if (sessions > line.top.most_sessions) return std::nullopt;
  return answer("sessions", [&](const Json& session) { top.take_session(session); });
}

// On a terminal each round takes the place of the former one.
Exit print_top(const CommandLine& line, std::ostream& out, std::ostream& err) {
  constexpr const char* kFromTheTop = "\x1b[H\x1b[J";
  const bool is_terminal = &out == &std::cout && isatty(STDOUT_FILENO) == 1;
  Top top(line.top);
  for (unsigned rounds = 0; out && (line.top.rounds == 0 || rounds < line.top.rounds);) {
    if (const auto error = ask_for_round(line, top)) return fail(*error, err);
    if (const auto round = top.end_round(std::chrono::steady_clock::now())) {
      ++rounds;
      if (line.json)
        out << Json{{"ports", round->ports}, {"remotes", round->remotes}}.dump() << std::endl;
      else
        out << (is_terminal ? kFromTheTop : "") << top_text(*round, line.top.rows)
            << (is_terminal ? "" : "\n") << std::flush;
      if (rounds == line.top.rounds) break;
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(line.top.interval));
  }
  return Exit::Ok;
}

// `reload --dry-run`, whose exit code says whether the reload could be done.
Exit print_preview(const CommandLine& line, std::ostream& out, std::ostream& err) {
  Json preview;
  const auto kind = ask(line, [&](Kind, const Json& answer) { preview = answer; });
  if (!kind) return fail(kind.error(), err);
  out << (line.json ? preview.dump() + "\n" : object_text(line.command, preview));
  return preview.value("can_be_applied", false) ? Exit::Ok : Exit::DaemonError;
}

Exit run(const CommandLine& line, std::ostream& out, std::ostream& err) {
  if (!line.file.empty()) return print_import(line, out, err);
  if (!line.write.empty()) return write_capture(line, out, err);
  if (line.command == "doctor") return print_doctor(line, out, err);
  if (line.command == "trace") return print_trace(line, out, err);
  if (!line.port.empty()) return print_recipe(line, out, err);
  if (line.command == "who") return print_who(line, out, err);
  if (line.command == "top") return print_top(line, out, err);
  if (line.arguments.contains("dry_run")) return print_preview(line, out, err);
  if (line.arguments.contains("watch")) return print_session_events(line, out, err);
  if (line.json) return print_json(line, out, err);
  if (line.format == SessionFormat::Conntrack) return print_conntrack(line, out, err);
  return print_text(line, out, err);
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
