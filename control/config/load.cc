// SPDX-License-Identifier: Apache-2.0
// The plan of loading: read, parse, fill in, check, sort.
#include "control/config/load.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <tuple>
#include <unistd.h>

#include "control/config/check.h"
#include "control/config/defaults.h"
#include "control/config/parse.h"
#include "control/config/resolvers.h"

namespace vmnat::config {
namespace {

constexpr std::size_t kLargestFile = 16 << 20;

// All of the file, or as much as shows that it is too large (it may be a device without an end).
tl::expected<std::string, std::string> read_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return tl::unexpected(std::generic_category().message(errno));
  std::string text;
  char block[4096];
  ssize_t length = 0;
  while (text.size() <= kLargestFile && (length = ::read(file, block, sizeof block)) > 0)
    text.append(block, static_cast<std::size_t>(length));
  const int error = errno;
  ::close(file);
  if (length < 0) return tl::unexpected(std::generic_category().message(error));
  return text;
}

Loaded refused(std::vector<Problem> problems, const std::string& file) {
  for (Problem& problem : problems) problem.file = file;
  const auto in_order = [](const Problem& p) { return std::tie(p.at, p.message); };
  std::sort(problems.begin(), problems.end(),
            [&](const Problem& a, const Problem& b) { return in_order(a) < in_order(b); });
  problems.erase(std::unique(problems.begin(), problems.end()), problems.end());
  return tl::unexpected(std::move(problems));
}

}  // namespace

Loaded load_config_text(std::string_view text, const std::string& file, const LoadOptions& options) {
  if (text.size() > kLargestFile) return refused({{"", {}, "the file is larger than 16 MiB"}}, file);
  const auto document = read_yaml(text);
  if (!document) return refused({document.error()}, file);

  Findings findings;
  Config config;
  parse_config(*document, config, findings);
  fill_in_defaults(config, findings, options.resolvers ? options.resolvers : host_resolvers);
  check_config(config, findings);

  if (!findings.problems.empty()) return refused(std::move(findings.problems), file);
  for (Problem& note : findings.notes) note.file = file;
  if (options.notes != nullptr) *options.notes = std::move(findings.notes);
  return config;
}

Loaded load_config(const std::string& path, const LoadOptions& options) {
  const auto text = read_file(path);
  if (!text) return refused({{"", {}, "cannot be read: " + text.error()}}, path);
  return load_config_text(*text, path, options);
}

}  // namespace vmnat::config
