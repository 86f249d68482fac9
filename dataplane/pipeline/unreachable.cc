// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/unreachable.h"

#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/parse.h"
#include "dataplane/pipeline/steer.h"
#include "dataplane/pipeline/translate.h"

namespace vmnat::dataplane {
namespace {

// Of a first fragment the transport header is read, too; later ones have no key.
template <Direction direction>
bool can_be_told(Burst& burst, unsigned i) {
  const PacketKind& kind = burst.packets[i].kind;
  if (kind == PacketKind::Fragment && ipv4_of(burst.frames[i]).fragment_offset() == 0)
    parse_first_fragment<direction>(burst, i);
  return kind != PacketKind::Unroutable && kind != PacketKind::Fragment && kind != PacketKind::IcmpError;
}

// The session that has translated a VM's frame, its source being the external endpoint.
const Session* translator_of(Context& context, const FlowKey& key) {
  const Session* session = context.conntrack.find(key);
  if (session == nullptr) return nullptr;
  return session->is_untranslated() || !session->is_from_inside(key) ? session : nullptr;
}

void end_translated(Context& context, Burst& burst, unsigned i, DropReason reason) {
  const FlowKey& key = burst.keys[i];
  if (const Session* session = translator_of(context, key)) {
    undo_translation(burst.frames[i], burst.packets[i], *session);
    return refuse(context, burst, i, reason);
  }
  if (const WorkerIndex owner = outside_owner(context, key); owner != context.worker)
    return hand_over(context, burst.frames[i], burst.ports[i], owner, FrameNote::Errand::Unreachable);
  context.drop(burst.frames[i], burst.ports[i], reason);
}

}  // namespace

template <Direction direction>
void end_unreachable(Context& context, Burst& burst) {
  for (unsigned i = 0; i < burst.count; ++i) {
    const DropReason reason = note_of(burst.frames[i]).reason;
    if (!can_be_told<direction>(burst, i))
      context.drop(burst.frames[i], burst.ports[i], reason);
    else if (direction == Direction::Inbound)
      refuse(context, burst, i, reason);
    else
      end_translated(context, burst, i, reason);
  }
  burst.count = 0;
}

template void end_unreachable<Direction::Outbound>(Context&, Burst&);
template void end_unreachable<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
