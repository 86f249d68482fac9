// SPDX-License-Identifier: Apache-2.0
#include "control/changes/overlay.h"

#include <algorithm>

namespace vmnat::control {
namespace {

using config::Document;
using config::Node;
using config::Origin;

using Layer = std::vector<Edit>;

void lay_over(const Layer& layer, Origin origin, Document& document, std::vector<Refusal>& refusals) {
  for (const Edit& edit : layer)
    if (const auto why = apply(edit, origin, document))
      refusals.push_back({edit.id, to_string(edit.id) + " (by a script): " + *why});
}

// Also what lies within it: a network comes and goes with its ports.
void forget(Layer& layer, const ThingId& id) {
  std::erase_if(layer, [&](const Edit& edit) { return edit.id == id || edit.id.is_within(id); });
}

bool is_wished(const Wish& wish, const Node* beneath) {
  if (beneath == nullptr || !wish.value) return (beneath == nullptr) == !wish.value;
  const bool is_in_a_range = wish.id.thing == Thing::Address || wish.id.thing == Thing::Drain;
  return is_in_a_range || same_content(*beneath, *wish.value);
}

void set(Layer& layer, const Wish& wish, const Document& beneath) {
  forget(layer, wish.id);
  const Node* const is_there = find_thing(beneath, wish.id);
  if (is_wished(wish, is_there)) return;
  layer.push_back({wish.id, is_there != nullptr, wish.value, wish.file});
}

Layer without_pointless(Layer layer, const Document& beneath) {
  for (Edit& edit : layer) edit.removes = edit.removes && find_thing(beneath, edit.id) != nullptr;
  std::erase_if(layer, [](const Edit& edit) { return !edit.removes && !edit.adds; });
  return layer;
}

// An address that has gone for good, by the file or by a script, has no drain left.
void forget_drains_of_gone(Layer& layer, const Document& all) {
  std::erase_if(layer, [&](const Edit& edit) {
    return edit.id.thing == Thing::Drain &&
           find_thing(all, {Thing::Address, edit.id.network, edit.id.name}) == nullptr;
  });
}

Document with_layer(Document document, const Layer& layer) {
  std::vector<Refusal> refusals;
  lay_over(layer, Origin::PersistentScript, document, refusals);
  return document;
}

}  // namespace

std::vector<Refusal> lay_over(const Overlay& overlay, Document& document) {
  std::vector<Refusal> refusals;
  lay_over(overlay.persistent, Origin::PersistentScript, document, refusals);
  lay_over(overlay.until_restart, Origin::Script, document, refusals);
  return refusals;
}

Overlay with_wish(Overlay overlay, const Wish& wish, Lasting lasting, const Document& file) {
  if (lasting == Lasting::UntilRestart) {
    set(overlay.until_restart, wish, with_layer(file, overlay.persistent));
    return overlay;
  }
  forget(overlay.until_restart, wish.id);
  set(overlay.persistent, wish, file);
  return overlay;
}

Overlay without_pointless(Overlay overlay, const Document& file) {
  overlay.persistent = without_pointless(std::move(overlay.persistent), file);
  overlay.until_restart =
      without_pointless(std::move(overlay.until_restart), with_layer(file, overlay.persistent));
  Document all = file;
  lay_over(overlay, all);
  forget_drains_of_gone(overlay.until_restart, all);
  forget_drains_of_gone(overlay.persistent, all);
  return overlay;
}

}  // namespace vmnat::control
