// SPDX-License-Identifier: Apache-2.0
// yaml-cpp's events to Nodes. Aliases are copies of what their anchor names, within a budget of nodes, so
// that a file of a few lines cannot ask for gigabytes.
#include "control/config/yaml_document.h"

#include <map>
#include <sstream>
#include <stdexcept>
#include <yaml-cpp/emitter.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

namespace vmnat::config {
namespace {

constexpr std::size_t kNodeBudget = 1'000'000;

struct Refusal {
  Position at;
  std::string message;
};

// yaml-cpp counts from 0, and has -1 where it does not know.
Position position_of(const YAML::Mark& mark) {
  const auto counted = [](int from_zero) {
    return from_zero < 0 ? 1u : static_cast<unsigned>(from_zero) + 1;
  };
  return {counted(mark.line), counted(mark.column)};
}

std::size_t count_nodes(const Node& node) {
  std::size_t count = 1;
  for (const Node& item : node.items) count += count_nodes(item);
  return count;
}

class TreeBuilder : public YAML::EventHandler {
 public:
  Node take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(Node{.kind = Node::Kind::Null, .at = position_of(mark)}, anchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                const std::string& value) override {
    add(Node{.kind = Node::Kind::Scalar, .at = position_of(mark), .text = value}, anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto named = anchors_.find(anchor);
    if (named == anchors_.end())
      throw Refusal{position_of(mark), "this alias refers to something that contains it"};
    spend(count_nodes(named->second) - 1, position_of(mark));
    add(Node{named->second}, 0);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::List, mark, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::Map, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Node node;
    YAML::anchor_t anchor;
    bool key_is_next = true;
  };

  void spend(std::size_t count, Position at) {
    if (count > budget_) throw Refusal{at, "the file has more than a million values"};
    budget_ -= count;
  }

  void open(Node::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    open_.push_back(Open{Node{.kind = kind, .at = position_of(mark)}, anchor});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    add(std::move(done.node), done.anchor);
  }

  void add(Node node, YAML::anchor_t anchor) {
    spend(1, node.at);
    if (anchor != 0) {
      spend(count_nodes(node) - 1, node.at);
      anchors_[anchor] = node;
    }
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == Node::Kind::Map && parent.key_is_next) {
      add_key(parent, node);
      return;
    }
    // yaml-cpp has what is left out begin at the next token, which may be lines away.
    const bool left_out = node.kind == Node::Kind::Null && parent.node.kind == Node::Kind::Map;
    if (left_out) node.at = parent.node.key_at.back();
    parent.node.items.push_back(std::move(node));
    parent.key_is_next = true;
  }

  static void add_key(Open& parent, const Node& key) {
    if (key.kind != Node::Kind::Scalar) throw Refusal{key.at, "a key must be a plain word"};
    parent.node.keys.push_back(key.text);
    parent.node.key_at.push_back(key.at);
    parent.key_is_next = false;
  }

  Node root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Node> anchors_;
  std::size_t budget_ = kNodeBudget;
};

void write_node(YAML::Emitter& out, const Node& node) {
  switch (node.kind) {
    case Node::Kind::Null:
      out << YAML::Null;
      return;
    case Node::Kind::Scalar:
      out << YAML::DoubleQuoted << node.text;
      return;
    case Node::Kind::List:
      out << YAML::Flow << YAML::BeginSeq;
      for (const Node& item : node.items) write_node(out, item);
      out << YAML::EndSeq;
      return;
    case Node::Kind::Map:
      break;
  }
  out << YAML::Flow << YAML::BeginMap;
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    out << YAML::Key << YAML::DoubleQuoted << node.keys[i] << YAML::Value;
    write_node(out, node.items[i]);
  }
  out << YAML::EndMap;
}

Node read_document(std::istream& stream) {
  YAML::Parser parser(stream);
  TreeBuilder builder;
  parser.HandleNextDocument(builder);
  Node root = builder.take_root();
  TreeBuilder second;
  if (parser.HandleNextDocument(second))
    throw Refusal{second.take_root().at, "a second document: a configuration is one document"};
  return root;
}

}  // namespace

std::string write_yaml(const Node& node) {
  YAML::Emitter out;
  write_node(out, node);
  return out.c_str();
}

tl::expected<Node, Problem> read_yaml(std::string_view text) {
  try {
    std::istringstream stream{std::string{text}};
    return read_document(stream);
  } catch (const YAML::Exception& error) {
    return tl::unexpected(Problem{"", position_of(error.mark), "YAML: " + error.msg});
  } catch (const Refusal& refusal) {
    return tl::unexpected(Problem{"", refusal.at, "YAML: " + refusal.message});
  } catch (const std::exception& error) {
    return tl::unexpected(Problem{"", {}, std::string{"YAML: "} + error.what()});
  }
}

}  // namespace vmnat::config
