// SPDX-License-Identifier: Apache-2.0
// KernelLinks: the network interfaces of one namespace of the kernel, as rtnetlink(7) tells of them, so that
// nobody polls for them.
//
// An interface is known by its index, which it keeps when it is renamed; one that is deleted and made again
// has another index. One that moves to another namespace is gone. Alternative names (altname) are left out.
// Example: auto links = KernelLinks::open(); then, whenever descriptor() is readable:
//   if (links->follow()) look_at(links->find("tap0"));
#pragma once

#include <string>
#include <tuple>
#include <unordered_map>

#include "control/result.h"
#include "control/system/netlink_socket.h"
#include "net/address.h"

namespace vmnat::control {

struct KernelLink {
  int index = 0;
  std::string name;
  bool is_up = false;        // IFF_UP: by the administrator
  bool has_carrier = false;  // IFF_RUNNING (netdevice(7)): of Linux, the operational state of RFC 2863 is up
  unsigned mtu = 0;
  net::MacAddr mac{};  // zero: it has none of 48 bits
  std::string kind;    // IFLA_INFO_KIND: "veth", "tun" (TUN and TAP), "" of hardware and of lo
  int master = 0;      // the bridge or bond that it is a part of; 0: none
  // IFLA_LINK: of a veth its other end; 0: none, or one in another namespace. Of those that are followed it may be
  // missing: the kernel tells of a new veth before it has one, and not again. So it is no difference.
  int lower = 0;

  bool operator==(const KernelLink& other) const {
    return std::tie(index, name, is_up, has_carrier, mtu, mac, kind, master) ==
           std::tie(other.index, other.name, other.is_up, other.has_carrier, other.mtu, other.mac, other.kind,
                    other.master);
  }
};

// Owned by one thread. Stays with the namespace that this thread was in at open().
class KernelLinks {
 public:
  // Subscribes, then reads all.
  static Result<KernelLinks> open();

  // Takes in what was told since the last call, and never waits for more. True: something changed, though it
  // may have changed back. When the kernel had no room for all changes (ENOBUFS), all is read anew. If that
  // fails (no memory, or interfaces that change faster than they can be read), the view stays as it is until
  // the next call, for which the descriptor does not ask: call follow() at times anyway.
  bool follow();

  // nullptr: there is none of that name. Valid until the next follow(). Looks at all of them.
  [[nodiscard]] const KernelLink* find(const std::string& name) const;
  // By index.
  [[nodiscard]] const std::unordered_map<int, KernelLink>& all() const { return links_; }
  // Readable when there is news.
  [[nodiscard]] int descriptor() const;

 private:
  Result<void> read_all();
  bool take_in_news();  // true: something changed

  NetlinkSocket news_;                         // subscribed
  NetlinkSocket answers_;                      // to readings
  std::unordered_map<int, KernelLink> links_;  // by index
  bool is_behind_ = false;                     // news was lost, and a reading has to make up for it
};

}  // namespace vmnat::control
