// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/who.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <ostream>
#include <tl/expected.hpp>
#include <zlib.h>

#include "control/admin/client.h"
#include "control/config/load.h"
#include "control/ctl/exits.h"
#include "control/ctl/table.h"
#include "control/ctl/tenures.h"

namespace vmnat::ctl {
namespace {

using nlohmann::json;
using OnLine = std::function<bool(std::string_view)>;  // false: no more is wanted

constexpr std::size_t kLongestLine = 4096;

constexpr admin::Column kColumns[] = {
    {"FROM", "from"},     {"UNTIL", "until"},       {"NETWORK", "network"}, {"PORT", "port"},
    {"MAC", "mac"},       {"INTERNAL", "internal"}, {"PROTO", "protocol"},  {"EXTERNAL", "external"},
    {"REMOTE", "remote"}, {"FIRST", "first_port"},  {"LAST", "last_port"}};

// Compressed or not. False: it cannot be read.
bool for_each_line(const std::string& path, const OnLine& take) {
  const std::unique_ptr<gzFile_s, decltype(&gzclose)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) return false;
  std::array<char, kLongestLine> line{};
  while (gzgets(file.get(), line.data(), line.size()) != nullptr) {
    std::string_view text(line.data());
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (!take(text)) break;
  }
  return true;
}

std::string first_line(const std::string& path) {
  std::string first;
  for_each_line(path, [&](std::string_view line) {
    first = line;
    return false;
  });
  return first;
}

// The file, and those beside it that logrotate has made of it ("FILE.1", "FILE.2.gz", "FILE-20260101"), the oldest
// first: each line begins with its time.
std::vector<std::string> files_of(const std::string& path) {
  std::vector<std::pair<std::string, std::string>> files;  // by their first lines
  const std::filesystem::path wanted(path);
  const std::string name = wanted.filename();
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(wanted.has_parent_path() ? wanted.parent_path() : ".", error)) {
    const std::string other = entry.path().filename();
    if (other == name || other.starts_with(name + '.') || other.starts_with(name + '-'))
      files.emplace_back(first_line(entry.path()), entry.path());
  }
  std::ranges::sort(files);
  std::vector<std::string> paths;
  paths.reserve(files.size());
  for (auto& [line, file] : files) paths.push_back(std::move(file));
  return paths;
}

// As the daemon's configuration names it.
tl::expected<std::string, std::string> file_of_daemon(const CommandLine& line) {
  std::string yaml;
  const auto asked = admin::call(line.socket, "config", json::object(), [&](auto, std::string_view text) {
    yaml = json::parse(text, nullptr, false).value("yaml", "");
  });
  if (!asked) return tl::unexpected(asked.error().what + "; --file FILE names the log without a daemon");
  const auto config =
      config::load_config_text(yaml, "config", {.resolvers = [] { return std::vector<net::Ipv4Addr>{}; }});
  if (config)
    for (const config::LogTarget& target : config->log.translations.to)
      if (target.kind == config::LogTarget::Kind::Json) return target.path;
  return tl::unexpected(
      std::string{"no log of translations is kept in a file: log.translations.to has no json:FILE"});
}

}  // namespace

Exit print_who(const CommandLine& line, std::ostream& out, std::ostream& err) {
  const auto path = line.who.file.empty() ? file_of_daemon(line) : line.who.file;
  if (!path) {
    err << "vmnatctl: " << path.error() << '\n';
    return Exit::DaemonError;
  }
  Tenures tenures(line.who.query);
  const auto files = files_of(*path);
  bool has_read = false;
  for (const std::string& file : files)
    has_read =
        for_each_line(file, [&](std::string_view text) { return tenures.take(text), true; }) || has_read;
  if (!has_read) {
    err << fmt::format("vmnatctl: {} cannot be read\n", *path);
    return Exit::DaemonError;
  }
  const json found = tenures.at(line.who.at);
  if (line.json) {
    out << found.dump() << '\n';
    return Exit::Ok;
  }
  if (found.empty()) err << "vmnatctl: nobody, as far as the log tells\n";
  Table table(kColumns, out);
  for (const json& tenure : found) table.add(tenure);
  table.finish();
  return Exit::Ok;
}

}  // namespace vmnat::ctl
