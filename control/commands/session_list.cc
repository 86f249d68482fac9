// SPDX-License-Identifier: Apache-2.0
#include "control/commands/session_list.h"

#include <array>
#include <nlohmann/json.hpp>

#include "control/commands/session_watch.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;
using admin::Pull;
using conntrack::SessionView;

constexpr std::size_t kChunk = 256;        // sessions copied at a time
constexpr unsigned kMissesPerPull = 4096;  // that do not match, before others get their turn

// The tables of all workers, one after the other, chunk by chunk.
class SessionCursor {
 public:
  SessionCursor(SessionRows rows, const Workers& workers)
      : rows_(std::move(rows)), workers_(workers), left_(rows_.filter().limit) {}

  // The next session that matches; each is answered once.
  Pull next(Json& item) {
    SessionView view{};
    const Pull pull = next_match(view);
    if (pull == Pull::Item) item = rows_.to_json(view);
    return pull;
  }
  Pull next_match(SessionView& view) {
    if (rows_.filter().limit != 0 && left_ == 0) return Pull::End;
    for (unsigned misses = 0; misses < kMissesPerPull;) {
      if (at_ == filled_ && !refill()) return Pull::End;
      if (at_ == filled_) continue;
      view = chunk_[at_++];
      if (!rows_.matches(view)) {
        ++misses;
        continue;
      }
      if (rows_.filter().limit != 0) --left_;
      return Pull::Item;
    }
    return Pull::Later;
  }

 private:
  // False when all workers have been read.
  bool refill() {
    if (worker_ == workers_.count()) return false;
    at_ = 0;
    filled_ = workers_[worker_].conntrack().snapshot(cursor_, chunk_);
    if (filled_ < chunk_.size()) {
      ++worker_;
      cursor_ = 0;
    }
    return true;
  }

  const SessionRows rows_;
  const Workers& workers_;
  std::uint64_t left_;
  std::size_t worker_ = 0;
  std::uint32_t cursor_ = 0;
  std::array<SessionView, kChunk> chunk_{};
  std::size_t filled_ = 0;
  std::size_t at_ = 0;
};

Answer count_sessions(std::shared_ptr<SessionCursor> cursor) {
  return Answer::object_later([cursor = std::move(cursor), count = std::uint64_t{0}](Json& item) mutable {
    constexpr unsigned kPerPull = 4096;
    SessionView view{};
    auto pull = Pull::Item;
    for (unsigned i = 0; i < kPerPull && pull == Pull::Item; ++i) {
      pull = cursor->next_match(view);
      if (pull == Pull::Item) ++count;
    }
    if (pull != Pull::End) return Pull::Later;
    item = {{"count", count}};
    return Pull::Item;
  });
}

}  // namespace

Result<Answer> list_sessions(const CommandContext& at, const Json& arguments) {
  auto filter = admin::session_filter(arguments, "watch");
  if (!filter) return tl::unexpected(filter.error());
  if (const auto error = unknown_name(at.numbered, *filter)) return tl::unexpected(*error);
  const bool is_count = filter->count;
  const auto watch = arguments.find("watch");
  if (watch != arguments.end() && !watch->is_boolean())
    return tl::unexpected(Error{"watch", "must be true or false"});
  SessionRows rows(at.numbered, at.ports, at.workers, *std::move(filter));
  if (watch != arguments.end() && *watch == true) {
    if (is_count) return tl::unexpected(Error{"watch", "goes without count"});
    return watch_sessions(at.listeners, std::move(rows), at.workers);
  }
  auto cursor = std::make_shared<SessionCursor>(std::move(rows), at.workers);
  if (is_count) return count_sessions(std::move(cursor));
  return Answer::list([cursor](Json& item) { return cursor->next(item); });
}

}  // namespace vmnat::control
