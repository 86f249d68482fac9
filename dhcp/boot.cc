// SPDX-License-Identifier: Apache-2.0
#include "dhcp/boot.h"

#include <algorithm>

#include "net/wire.h"

namespace vmnat::dhcp {
namespace {

bool is_url(std::string_view file) {
  return file.starts_with("http://") || file.starts_with("https://");
}

// RFC 3004 section 4: one or more of length and bytes; whatever is cut off ends the list.
bool lists_user_class(ByteView list, std::string_view name) {
  while (!list.empty()) {
    const auto length = static_cast<std::size_t>(list[0]);
    list = list.subspan(1);
    if (length > list.size()) return false;
    if (std::ranges::equal(list.first(length), bytes_of(name))) return true;
    list = list.subspan(length);
  }
  return false;
}

bool can_run(const OptionSet& request, std::uint16_t architecture) {
  ByteView list = request.bytes(Option::ClientArch);
  while (const auto* one = net::view<net::Be16>(list)) {
    if (one->host() == architecture) return true;
    list = list.subspan(sizeof(*one));
  }
  return false;
}

}  // namespace

bool is_of_class(const OptionSet& request, std::string_view vendor_class) {
  return request.text(Option::VendorClass).starts_with(vendor_class);
}

bool is_ipxe(const OptionSet& request) {
  constexpr std::string_view kName = "iPXE";
  return request.has(Option::IpxeOptions) || request.text(Option::UserClass) == kName ||
         lists_user_class(request.bytes(Option::UserClass), kName);
}

const Boot* boot_for(const NetworkSettings& settings, const OptionSet& request) {
  const bool by_http = is_of_class(request, kHttpClass), by_ipxe = is_ipxe(request);
  const auto fits = [&](const Boot& boot) {
    return (!boot.architecture || can_run(request, *boot.architecture)) && (!boot.for_ipxe || by_ipxe) &&
           (!by_http || is_url(boot.file));
  };
  const auto found = std::ranges::find_if(settings.boot, fits);
  return found == settings.boot.end() ? nullptr : &*found;
}

}  // namespace vmnat::dhcp
