// SPDX-License-Identifier: Apache-2.0
#include "control/changes/overlay_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <system_error>

namespace vmnat::control {
namespace {

using config::Node;

constexpr std::string_view kDamaged = "is damaged, or was not written by vmnatd";

struct ThingWord {
  Thing thing;
  std::string_view word;
};
constexpr auto kThings = std::to_array<ThingWord>({{Thing::Network, "network"},
                                                   {Thing::Port, "port"},
                                                   {Thing::Forward, "forward"},
                                                   {Thing::Address, "address"},
                                                   {Thing::Drain, "drain"}});

std::uint64_t checksum(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string head_of(std::string_view edits) {
  return fmt::format("# vmnat overlay 1, checksum {:016x}. Written by vmnatd; change it by vmnatctl.\n",
                     checksum(edits));
}

std::string_view verb_of(const Edit& edit) {
  if (!edit.adds) return "removes";
  return edit.removes ? "replaces" : "adds";
}

Node node_of(const Edit& edit) {
  Node node{.kind = Node::Kind::Map};
  const auto word = std::ranges::find(kThings, edit.id.thing, &ThingWord::thing)->word;
  set_key(node, verb_of(edit), config::scalar_node(std::string{word}));
  set_key(node, "network", config::scalar_node(edit.id.network));
  set_key(node, "name", config::scalar_node(edit.id.name));
  if (edit.adds) set_key(node, "value", *edit.adds);
  return node;
}

tl::unexpected<Error> damaged() {
  return tl::unexpected(Error{"", std::string{kDamaged}});
}

Result<Edit> edit_of(const Node& node) {
  for (const std::string_view verb : {"removes", "adds", "replaces"}) {
    const auto word = std::ranges::find(kThings, text_of(node, verb), &ThingWord::word);
    if (word == kThings.end()) continue;
    Edit edit{.id = {word->thing, std::string{text_of(node, "network")}, std::string{text_of(node, "name")}},
              .removes = verb != "adds"};
    const Node* const value = config::find_key(node, "value");
    if ((verb == "removes") != (value == nullptr) || edit.id.name.empty()) return damaged();
    if (value != nullptr) edit.adds = *value;
    forget_lines(edit);
    return edit;
  }
  return damaged();
}

Result<std::string> free_name_beside(const std::string& path) {
  constexpr int kMost = 100;
  for (int i = 1; i <= kMost; ++i) {
    std::string name = path + ".aside" + (i == 1 ? "" : fmt::format("-{}", i));
    std::error_code error;
    if (!std::filesystem::exists(name, error)) return name;
  }
  return tl::unexpected(Error{path, "has been put aside 100 times already"});
}

}  // namespace

std::string overlay_path(const std::string& state_dir) {
  return state_dir + "/overlay.yaml";
}

std::string overlay_text(const std::vector<Edit>& edits) {
  std::string lines;
  for (const Edit& edit : edits) lines += "- " + config::write_yaml(node_of(edit)) + '\n';
  return head_of(lines) + lines;
}

Result<std::vector<Edit>> read_overlay_text(std::string_view text) {
  const auto end = text.find('\n');
  if (end == std::string_view::npos || text.substr(0, end + 1) != head_of(text.substr(end + 1)))
    return damaged();
  const auto document = config::read_yaml(text);
  if (!document) return damaged();
  std::vector<Edit> edits;
  for (const Node& node : document->items) {
    auto edit = edit_of(node);
    if (!edit) return tl::unexpected(edit.error());
    edits.push_back(*std::move(edit));
  }
  return edits;
}

Result<std::vector<Edit>> read_overlay(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return {};
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) return tl::unexpected(Error{path, "cannot be read"});
  auto edits = read_overlay_text(text);
  if (!edits) return tl::unexpected(Error{path, edits.error().what});
  return edits;
}

Result<FreshFile> write_overlay(const std::string& path, const std::vector<Edit>& edits) {
  std::error_code error;  // if it cannot be made, the file cannot be written, and that is told
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const std::string text = overlay_text(edits);
  return FreshFile::write(path, std::as_bytes(std::span{text}), Readers::OwnerOnly, Writing::Durable);
}

Result<std::string> set_aside(const std::string& path) {
  auto aside = free_name_beside(path);
  if (!aside) return aside;
  std::error_code error;
  std::filesystem::rename(path, *aside, error);
  if (error) return tl::unexpected(Error{path, "cannot be put aside: " + error.message()});
  return aside;
}

Result<std::string> copy_aside(const std::string& path) {
  auto aside = free_name_beside(path);
  if (!aside) return aside;
  std::error_code error;
  std::filesystem::copy_file(path, *aside, error);
  if (error) return tl::unexpected(Error{path, "cannot be copied aside: " + error.message()});
  return aside;
}

}  // namespace vmnat::control
