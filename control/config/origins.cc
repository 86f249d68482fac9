// SPDX-License-Identifier: Apache-2.0
// A walk over the rows of keys_*.h with two paths: the document's, and the one with names.
#include "control/config/origins.h"

#include "control/config/keys_network.h"
#include "control/config/section.h"

namespace vmnat::config {
namespace {

struct Place {
  std::string path, name;

  [[nodiscard]] Place key(std::string_view word) const {
    const std::string text{word};
    return path.empty() ? Place{text, text} : Place{path + '.' + text, name + '.' + text};
  }
  [[nodiscard]] Place element(std::size_t index, const std::string& called) const {
    return {indexed(path, index), name + '.' + called};
  }
};

class Walk {
 public:
  explicit Walk(const Origins& origins) : origins_(origins) {}

  template <typename S>
  void keys(const S& section, const Place& at) {
    for_each_key<S>([&](const auto& key) {
      if (key.traits.applies != nullptr && !key.traits.applies(section)) return;
      value(key, section.*key.member, at.key(key.name));
    });
  }
  std::vector<NamedOrigin> take() { return std::move(all_); }

 private:
  void add(const Place& at) { all_.push_back({at.name, origin_at(origins_, at.path)}); }

  template <typename S, typename T, typename Form>
  void value(const Key<S, T, Form>&, const T&, const Place& at) {
    add(at);
  }
  template <typename S, typename T>
  void value(const Key<S, T, Map>&, const T& section, const Place& at) {
    keys(section, at);
  }
  template <typename S, typename T>
  void value(const Key<S, std::optional<T>, MapIfGiven>&, const std::optional<T>& section, const Place& at) {
    if (section) keys(*section, at);
  }
  // Element by element where a script may have added one.
  template <typename S, typename T, typename Item>
  void value(const Key<S, std::vector<T>, List<Item>>& key, const std::vector<T>& items, const Place& at) {
    const bool is_default = origin_at(origins_, at.path) == Origin::Default;
    if (is_default || items.empty() || key.traits.element.empty()) return add(at);
    for (std::size_t i = 0; i < items.size(); ++i) add(at.element(i, key.form.item.text(items[i])));
  }
  template <typename S, typename T>
  void value(const Key<S, std::vector<T>, Lines>&, const std::vector<T>& elements, const Place& at) {
    if (elements.empty()) return add(at);
    for (std::size_t i = 0; i < elements.size(); ++i) add(at.element(i, name_of(elements[i], i)));
  }
  template <typename S>
  void value(const Key<S, std::vector<Network>, Blocks>&, const std::vector<Network>& networks,
             const Place& at) {
    for (std::size_t i = 0; i < networks.size(); ++i) {
      const Place network = at.element(i, networks[i].name);
      add(network);
      keys(networks[i], network);
    }
  }

  template <typename S>
  static std::string name_of(const S& element, std::size_t index) {
    return kNamed<S>.name != nullptr ? kNamed<S>.name(element) : std::to_string(index);
  }

  const Origins& origins_;
  std::vector<NamedOrigin> all_;
};

}  // namespace

std::vector<NamedOrigin> named_origins(const Config& config, const Origins& origins) {
  Walk walk(origins);
  walk.keys(config, {});
  return walk.take();
}

}  // namespace vmnat::config
