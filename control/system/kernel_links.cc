// SPDX-License-Identifier: Apache-2.0
// Two sockets, because an answer on the subscribed socket may be queued behind news of a later change, and
// would then undo it. With two, a reading comes first and the news second. Some of that news may be older
// than the reading, but never the last of an interface: the kernel queues news before it lets go of its lock
// (RTNL). So the view is right whenever the queue is empty.
#include "control/system/kernel_links.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <system_error>
#include <utility>

namespace vmnat::control {
namespace {

using Links = std::unordered_map<int, KernelLink>;

// The kernel's answer for more than some 25 interfaces comes in several parts, and is asked for again when an
// interface has come or gone between two of them.
constexpr int kMostReadings = 20;

ssize_t receive(mnl_socket* socket, NetlinkBuffer& buffer) {
  return mnl_socket_recvfrom(socket, buffer.bytes.data(), buffer.bytes.size());
}

tl::unexpected<Error> cannot_be_followed(const std::string& reason) {
  return tl::unexpected(Error{"rtnetlink", "the kernel's network interfaces cannot be followed: " + reason});
}

tl::unexpected<Error> cannot_be_followed(int error) {
  return cannot_be_followed(std::generic_category().message(error));
}

// --- one message ---------------------------------------------------------------------------------

int take_in_kind(const nlattr* attribute, void* link) {
  if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND &&
      mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0)
    static_cast<KernelLink*>(link)->kind = mnl_attr_get_str(attribute);
  return MNL_CB_OK;
}

constexpr int kElsewhere = -1;  // a `lower` that is a number of another namespace

int take_in_attribute(const nlattr* attribute, void* of_link) {
  auto& link = *static_cast<KernelLink*>(of_link);
  switch (mnl_attr_get_type(attribute)) {
    case IFLA_IFNAME:
      if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0) link.name = mnl_attr_get_str(attribute);
      break;
    case IFLA_MTU:
      if (mnl_attr_validate(attribute, MNL_TYPE_U32) == 0) link.mtu = mnl_attr_get_u32(attribute);
      break;
    case IFLA_ADDRESS:
      if (mnl_attr_get_payload_len(attribute) == sizeof link.mac)
        std::memcpy(&link.mac, mnl_attr_get_payload(attribute), sizeof link.mac);
      break;
    case IFLA_MASTER:
      if (mnl_attr_validate(attribute, MNL_TYPE_U32) == 0)
        link.master = static_cast<int>(mnl_attr_get_u32(attribute));
      break;
    case IFLA_LINK:
      if (mnl_attr_validate(attribute, MNL_TYPE_U32) == 0 && link.lower != kElsewhere)
        link.lower = static_cast<int>(mnl_attr_get_u32(attribute));
      break;
    case IFLA_LINK_NETNSID:  // before IFLA_LINK or after it, by the kernel's version
      link.lower = kElsewhere;
      break;
    case IFLA_LINKINFO:
      mnl_attr_parse_nested(attribute, take_in_kind, &link);
      break;
    default:
      break;
  }
  return MNL_CB_OK;
}

struct View {
  Links& links;
  bool has_changed = false;
};

void put(View& view, const nlmsghdr* message, const ifinfomsg& header) {
  const auto known = view.links.find(header.ifi_index);
  // News of wireless interfaces has few attributes: what it does not tell stays.
  KernelLink link = known == view.links.end() ? KernelLink{} : known->second;
  link.index = header.ifi_index;
  link.is_up = (header.ifi_flags & IFF_UP) != 0;
  link.has_carrier = (header.ifi_flags & IFF_RUNNING) != 0;
  link.master = link.lower = 0;  // whoever has none is told of without
  mnl_attr_parse(message, sizeof header, take_in_attribute, &link);
  if (link.lower == kElsewhere) link.lower = 0;
  if (link.name.empty()) return;
  if (known == view.links.end() || known->second != link) view.has_changed = true;
  view.links.insert_or_assign(header.ifi_index, std::move(link));
}

int take_in(const nlmsghdr* message, void* into) {
  auto& view = *static_cast<View*>(into);
  if (mnl_nlmsg_get_payload_len(message) < sizeof(ifinfomsg)) return MNL_CB_OK;
  const auto& header = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  // AF_BRIDGE: a bridge tells of its ports in the same group, by RTM_DELLINK of an interface that leaves it.
  if (header.ifi_family != AF_UNSPEC) return MNL_CB_OK;
  if (message->nlmsg_type == RTM_NEWLINK) put(view, message, header);
  if (message->nlmsg_type == RTM_DELLINK && view.links.erase(header.ifi_index) > 0) view.has_changed = true;
  return MNL_CB_OK;
}

// --- a reading -----------------------------------------------------------------------------------

// NLMSG_ERROR and NLMSG_DONE begin with 0 or a negative error number, which libmnl 1.0.4 overlooks in DONE.
int take_in_end(const nlmsghdr* message, void* /*into*/) {
  int error = 0;
  if (mnl_nlmsg_get_payload_len(message) >= sizeof error)
    std::memcpy(&error, mnl_nlmsg_get_payload(message), sizeof error);
  errno = -error;
  return error == 0 ? MNL_CB_STOP : MNL_CB_ERROR;
}

bool ask_for_all(mnl_socket* socket, NetlinkBuffer& buffer) {
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.bytes.data());
  request->nlmsg_type = RTM_GETLINK;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg)));
  header->ifi_family = AF_UNSPEC;
  mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return mnl_socket_sendto(socket, request, request->nlmsg_len) >= 0;
}

// 0 or the number of the error; EINTR (libmnl's, for NLM_F_DUMP_INTR): the interfaces changed meanwhile.
// Never waits: the kernel makes the next part of its answer while the one before is received.
int read_once(mnl_socket* socket, Links& links) {
  NetlinkBuffer buffer;
  while (receive(socket, buffer) >= 0) {
  }  // the rest of a reading that was broken off
  if (!ask_for_all(socket, buffer)) return errno;
  View view{links};
  std::array<mnl_cb_t, NLMSG_DONE + 1> ends{};
  ends[NLMSG_ERROR] = ends[NLMSG_DONE] = take_in_end;
  int verdict = MNL_CB_OK;
  while (verdict == MNL_CB_OK) {
    const ssize_t length = receive(socket, buffer);
    if (length < 0) return errno;
    verdict = mnl_cb_run2(buffer.bytes.data(), static_cast<std::size_t>(length), 0, 0, take_in, &view,
                          ends.data(), ends.size());
  }
  return verdict == MNL_CB_STOP ? 0 : errno;
}

}  // namespace

Result<KernelLinks> KernelLinks::open() {
  KernelLinks links;
  links.news_ = open_netlink(SOCK_NONBLOCK, RTMGRP_LINK);
  if (!links.news_) return cannot_be_followed(errno);
  links.answers_ = open_netlink(SOCK_NONBLOCK);
  if (!links.answers_) return cannot_be_followed(errno);
  if (const auto read = links.read_all(); !read) return tl::unexpected(read.error());
  links.follow();
  return links;
}

bool KernelLinks::follow() {
  bool changed = take_in_news();
  for (int reading = 0; is_behind_ && reading < kMostReadings; ++reading) {
    const Links before = links_;
    if (!read_all()) break;
    changed |= links_ != before;
    changed |= take_in_news();
  }
  return changed;
}

const KernelLink* KernelLinks::find(const std::string& name) const {
  const auto found = std::find_if(links_.begin(), links_.end(),
                                  [&](const auto& entry) { return entry.second.name == name; });
  return found == links_.end() ? nullptr : &found->second;
}

int KernelLinks::descriptor() const {
  return mnl_socket_get_fd(news_.get());
}

Result<void> KernelLinks::read_all() {
  for (int reading = 0; reading < kMostReadings; ++reading) {
    Links links;
    const int error = read_once(answers_.get(), links);
    if (error != 0 && error != EINTR) return cannot_be_followed(error);
    if (error == EINTR) continue;
    links_ = std::move(links);
    is_behind_ = false;
    return {};
  }
  return cannot_be_followed("they change faster than they can be read");
}

// Until the queue is empty: after ENOBUFS the kernel drops all news, without another word, until then.
bool KernelLinks::take_in_news() {
  NetlinkBuffer buffer;
  View view{links_};
  for (;;) {
    const ssize_t length = receive(news_.get(), buffer);
    if (length >= 0) {
      mnl_cb_run(buffer.bytes.data(), static_cast<std::size_t>(length), 0, 0, take_in, &view);
      continue;
    }
    if (errno == EAGAIN) return view.has_changed;
    is_behind_ = true;  // ENOBUFS; ENOSPC (of libmnl): longer than the buffer
    if (errno != ENOBUFS && errno != ENOSPC) return view.has_changed;
  }
}

}  // namespace vmnat::control
