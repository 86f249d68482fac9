// SPDX-License-Identifier: Apache-2.0
// FragmentTable: which fragments of each datagram have arrived, and the frames that wait for a first
// fragment.
//
// Virtual reassembly: nothing is put together. Only the first fragment has ports. The table remembers them
// as the datagram's lead, gives the lead to every later fragment, and keeps fragments that arrive too early:
//
//   later  [1480, 2960)   held: no lead yet
//   first  [   0, 1480)   may go on, with its own ports; the held one is released with the lead
//   last   [2960, 3008)   may go on with the lead; the datagram is complete and forgotten
//
// Every byte of a datagram passes once. A datagram whose fragments overlap is condemned (RFC 5722), so that
// no later fragment overwrites at the receiver what the first one said (RFC 1858, RFC 3128); copies are
// dropped.
//
// Everything is bounded. A datagram is forgotten 2 s after its latest fragment. A port at its quota makes
// room by forgetting its own oldest datagrams, so a flood costs nobody else. The quotas of all ports together
// exceed the table; so one half of it is kept for the ports in even parts, anew whenever ports come or go: of 10
// ports 204 datagrams and 102 frames each, of 200 ports 10 and 5. Owned by one worker.
#pragma once

#include <algorithm>
#include <array>
#include <memory>

#include "base/ids.h"
#include "base/time.h"
#include "conntrack/hash.h"
#include "dataplane/context/counters.h"
#include "dataplane/context/forwarding_state.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

// A datagram by the fields of RFC 791 section 3.2, and by port and direction, so that no VM meddles with
// another's.
struct DatagramKey {
  std::uint64_t addresses = 0;  // source, destination
  std::uint64_t rest = 0;       // identification, protocol, direction, port
  static DatagramKey of(const net::Ipv4Header& ip, PortIndex port, Direction direction);
  bool operator==(const DatagramKey&) const = default;
};

// Where a fragment lies in its datagram.
struct Piece {
  DatagramKey key;
  PortIndex port = 0;
  Direction direction{};
  std::uint16_t begin = 0;  // bytes of the datagram's payload
  std::uint16_t end = 0;    // above begin
  bool is_last = false;
};

// The first fragment's ports, which hold for all fragments of the datagram.
struct Lead {
  net::L4Port local_port;
  net::L4Port remote_port;
  std::uint16_t new_id = 0;  // as in ParsedPacket
  PacketKind kind{};         // of the later fragments

  static Lead read(const FrameNote& note) {
    return {.local_port = note.local_port,
            .remote_port = note.remote_port,
            .new_id = note.new_id,
            .kind = note.kind};
  }
  void write(FrameNote& note) const {
    note.local_port = local_port;
    note.remote_port = remote_port;
    note.new_id = new_id;
    note.kind = kind;
  }
};

class FragmentTable {
 public:
  // What a port may have in the table.
  struct Quota {
    unsigned datagrams;
    unsigned buffers;  // of frames that wait; a frame is one or more
  };
  struct Settings {
    std::uint64_t seed = 0;      // secret and random
    std::size_t ports = 1;       // at first: they share the table
    std::size_t most_ports = 0;  // each port is below this; 0: as many as there are at first
    PortIndex uplinks = 1;       // ports below this
    unsigned datagrams = 4096;   // for all ports together; two for each of the most at least
    unsigned frames = 1024;      // that wait; the same
    Quota vm{512, 256};
    Quota uplink{2048, 512};
  };
  static constexpr Ticks kPatience{2 * Ticks::period::den};

  enum class Fate : std::uint8_t { Pass, Held, Refused };
  struct Verdict {
    Fate fate;
    DropReason reason{};  // Refused
    Lead lead{};          // Pass
  };

  FragmentTable(Settings settings, WorkerCounters& counters);
  FragmentTable(const FragmentTable&) = delete;
  FragmentTable& operator=(const FragmentTable&) = delete;
  ~FragmentTable() { clear(); }

  // So many ports share the table from now on. What they have stays theirs.
  void share_among(std::size_t ports);

  // Refused frames are still the caller's; held ones are the table's.
  Verdict admit_first(const Piece& piece, const Lead& lead, Time now);
  Verdict admit_later(const Piece& piece, rte_mbuf* frame, Time now);
  // The first fragment is dropped for this reason, and so will be all others of its datagram.
  void condemn(const Piece& piece, DropReason reason, Time now);

  // Frames whose lead has come, in their order of arrival; their notes hold the errand and the lead.
  [[nodiscard]] bool has_released() const { return first_released_ != kNone; }
  unsigned take_released(rte_mbuf** frames, unsigned most);

  // Drops frames that have waited in vain, a bounded number in each call.
  void expire(Time now) {
    if (in_use_ != 0) expire_some(now);
  }
  void clear();  // frees all frames, uncounted

  [[nodiscard]] unsigned datagrams() const { return in_use_; }

 private:
  using Index = std::uint16_t;
  static constexpr Index kNone = 0xffff;
  static constexpr unsigned kRuns = 32;  // a datagram of 64 KB in packets of 1500 bytes has 23 at worst
  static constexpr unsigned kExpiredPerCall = 32;  // datagrams
  static constexpr unsigned kPortsPerCall = 64;

  struct Run {
    std::uint16_t begin, end;
  };
  enum class State : std::uint8_t { Waiting, Led, Condemned };
  struct Datagram {
    DatagramKey key;
    Index next = kNone;  // in the bucket, or free
    Index older = kNone, newer = kNone;
    Index first_held = kNone, last_held = kNone;
    PortIndex port = 0;
    Time last_seen{};
    Lead lead;
    State state = State::Waiting;
    DropReason fault{};     // Condemned
    std::uint8_t runs = 0;  // of bytes that have come: ascending, neither overlapping nor touching
    std::uint16_t end = 0;  // of the datagram; 0: not known yet
    std::array<Run, kRuns> run;
  };
  struct Held {
    rte_mbuf* frame;
    PortIndex port;
    Index next;  // in its datagram, in the released ones, or free
  };
  struct Share {  // of a port
    Index oldest = kNone, newest = kNone;
    std::uint16_t datagrams = 0;
    std::uint16_t buffers = 0;
    std::uint16_t frames = 0;  // with those that are released and not taken yet
  };
  // Places of one kind, of which each port is sure of some.
  class Places {
   public:
    explicit Places(unsigned total) : total_(total), free_(total) {}
    // `own_of` answers how many places a port has. Those that have gone may still have some.
    template <typename OwnOf>
    void share_among(std::size_t ports, std::size_t most_ports, OwnOf own_of) {
      part_ = static_cast<unsigned>(total_ / 2 / ports);
      kept_ = static_cast<int>(part_ * ports);
      for (std::size_t port = 0; port < most_ports; ++port)
        kept_ -= static_cast<int>(std::min<unsigned>(own_of(port), part_));
    }
    // For a port that has so many.
    [[nodiscard]] bool has_room_for(unsigned own) const {
      return static_cast<int>(free_) > (own < part_ ? 0 : std::max(kept_, 0));
    }
    void take(unsigned own) {
      --free_;
      if (own < part_) --kept_;
    }
    void give_back(unsigned own_left) {
      ++free_;
      if (own_left < part_) ++kept_;
    }

   private:
    unsigned total_;
    unsigned part_ = 0;
    unsigned free_;
    int kept_ = 0;  // of them, for ports that have less than their part
  };
  enum class Coverage : std::uint8_t { New, Duplicate, Overlap, Scattered };

  [[nodiscard]] const Quota& quota_of(PortIndex port) const {
    return port < settings_.uplinks ? settings_.uplink : settings_.vm;
  }
  [[nodiscard]] Index& bucket_of(const DatagramKey& key);
  Datagram* find_or_add(const Piece& piece, Time now);
  Datagram* add(const Piece& piece);
  Verdict refuse(Datagram& datagram, Coverage coverage);
  Coverage cover(Datagram& datagram, const Piece& piece);
  static Coverage insert_run(Datagram& datagram, Run run);
  Verdict hold(Datagram& datagram, const Piece& piece, rte_mbuf* frame);
  bool make_room_for_frame(const Datagram& keep, unsigned buffers);
  void release_held(Datagram& datagram);
  void drop_held(Datagram& datagram, DropReason reason);
  void condemn(Datagram& datagram, DropReason reason);
  void forget(Datagram& datagram, DropReason reason);
  void link_newest(Datagram& datagram);
  void unlink(Datagram& datagram);
  void expire_some(Time now);
  unsigned expire_port(PortIndex port, Time now, unsigned budget);
  Index free_held(Index held);
  void count_held(int change);
  [[nodiscard]] static bool is_complete(const Datagram& datagram) {
    return datagram.runs == 1 && datagram.run[0].begin == 0 && datagram.run[0].end == datagram.end;
  }
  [[nodiscard]] Index index_of(const Datagram& datagram) const {
    return static_cast<Index>(&datagram - datagrams_.get());
  }

  Settings settings_;
  Places datagram_places_, frame_places_;
  WorkerCounters& counters_;
  conntrack::FlowHash hash_;
  unsigned bucket_mask_;
  std::unique_ptr<Index[]> buckets_;
  std::unique_ptr<Datagram[]> datagrams_;
  std::unique_ptr<Held[]> held_;
  std::unique_ptr<Share[]> shares_;  // by PortIndex
  Index free_datagram_ = kNone;
  Index free_held_ = kNone;
  Index first_released_ = kNone, last_released_ = kNone;
  unsigned in_use_ = 0;
  unsigned frames_held_ = 0;    // and not released
  std::size_t ports_seen_ = 1;  // numbers from here on never had anything
  PortIndex next_to_expire_ = 0;
};

}  // namespace vmnat::dataplane
