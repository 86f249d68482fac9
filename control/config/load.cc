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

tl::unexpected<Problems> refused(Problems problems, const std::vector<Source>& sources) {
  for (Problem& problem : problems) problem.file = sources.at(problem.at.source).name;
  const auto in_order = [](const Problem& p) { return std::tie(p.at, p.message); };
  std::sort(problems.begin(), problems.end(),
            [&](const Problem& a, const Problem& b) { return in_order(a) < in_order(b); });
  problems.erase(std::unique(problems.begin(), problems.end()), problems.end());
  return tl::unexpected(std::move(problems));
}

// A key that was misread stands in the file all the same.
Origins origins_of(const Findings& findings) {
  Origins origins;
  for (const std::string& path : findings.given) origins[path] = Origin::File;
  for (const auto& [path, at] : findings.marks) origins[path] = findings.sources.at(at.source).origin;
  return origins;
}

}  // namespace

tl::expected<Document, Problems> read_document_text(std::string_view text, const std::string& file) {
  Document document{.root = {}, .sources = {{file, Origin::File}}};
  if (text.size() > kLargestFile)
    return refused({{"", {}, "the file is larger than 16 MiB"}}, document.sources);
  auto root = read_yaml(text);
  if (!root) return refused({root.error()}, document.sources);
  document.root = *std::move(root);
  return document;
}

tl::expected<Document, Problems> read_document(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return refused({{"", {}, "cannot be read: " + text.error()}}, {{path, Origin::File}});
  return read_document_text(*text, path);
}

Loaded load_document(const Document& document, const LoadOptions& options) {
  Findings findings;
  findings.sources = document.sources;
  Config config;
  parse_config(document.root, config, findings);
  fill_in_defaults(config, findings, options.resolvers ? options.resolvers : host_resolvers);
  check_config(config, findings);

  if (!findings.problems.empty()) return refused(std::move(findings.problems), document.sources);
  for (Problem& note : findings.notes) note.file = document.sources.at(note.at.source).name;
  if (options.notes != nullptr) *options.notes = std::move(findings.notes);
  if (options.origins != nullptr) *options.origins = origins_of(findings);
  return config;
}

Loaded load_config_text(std::string_view text, const std::string& file, const LoadOptions& options) {
  return read_document_text(text, file).and_then([&](const Document& document) {
    return load_document(document, options);
  });
}

Loaded load_config(const std::string& path, const LoadOptions& options) {
  return read_document(path).and_then(
      [&](const Document& document) { return load_document(document, options); });
}

}  // namespace vmnat::config
