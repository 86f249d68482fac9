// SPDX-License-Identifier: Apache-2.0
#include "control/commands/session_watch.h"

#include <nlohmann/json.hpp>

#include "control/system/rfc3339.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;
using admin::Pull;
using conntrack::EventKind;
using conntrack::SessionEvent;

constexpr std::size_t kEvents = 65'536;    // that wait for the reader, of each worker
constexpr unsigned kMissesPerPull = 4096;  // that do not match, before others get their turn

// conntrack(8)'s words.
const char* word_for(EventKind kind) {
  switch (kind) {
    case EventKind::Opened:
      return "new";
    case EventKind::Ended:
      return "destroy";
    default:
      return "update";
  }
}

class EventStream {
 public:
  EventStream(std::unique_ptr<Listener> listener, SessionRows rows, const Workers& workers)
      : listener_(std::move(listener)), rows_(std::move(rows)), workers_(workers) {}

  Pull next(Json& item) {
    if (stage_ == Stage::Ended) return Pull::End;
    if (stage_ == Stage::Told) {
      stage_ = Stage::Ended;
      item = {{"events", told_}, {"missed", listener_->missed()}};
      return Pull::Item;
    }
    SessionEvent event;
    for (unsigned misses = 0; misses < kMissesPerPull; ++misses) {
      if (!listener_->take(event)) break;
      if (!rows_.selects(event.session)) continue;
      item = rows_.to_json(event.session);
      item["event"] = word_for(event.kind);
      item["time"] = rfc3339_milliseconds(workers_.wall_time(event.when));
      if (++told_ == rows_.filter().limit) finish();
      return Pull::Item;
    }
    return Pull::Later;
  }
  void finish() { stage_ = Stage::Told; }

 private:
  enum class Stage : std::uint8_t { Events, Told, Ended };
  const std::unique_ptr<Listener> listener_;
  const SessionRows rows_;
  const Workers& workers_;
  std::uint64_t told_ = 0;
  Stage stage_ = Stage::Events;
};

}  // namespace

Result<Answer> watch_sessions(Listeners& listeners, SessionRows rows, const Workers& workers) {
  auto listener = listeners.add(Listeners::About::Sessions, kEvents);
  if (!listener) return tl::unexpected(listener.error());
  const auto stream = std::make_shared<EventStream>(*std::move(listener), std::move(rows), workers);
  return Answer::stream([stream](Json& item) { return stream->next(item); }, [stream] { stream->finish(); });
}

}  // namespace vmnat::control
