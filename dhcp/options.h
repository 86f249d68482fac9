// SPDX-License-Identifier: Apache-2.0
// The DHCP options that vmnat knows by name: one table, from which the enum and the rules are made.
//
// An option on the wire is code, length, value (RFC 2132 section 2). The table says what a value of each
// code must look like, so the codec can set a malformed option aside by itself and keep the rest:
//
//   03 04 c0 a8 7a 01        router = 192.168.122.1        Addresses: a multiple of four bytes
//   03 03 c0 a8 7a           malformed, as if absent
//
// Codes that are not in the table are legal and are carried as raw bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace vmnat::dhcp {

enum class OptionType : std::uint8_t {
  Raw,        // any bytes
  Flag,       // no bytes: present or not
  Byte,       // 1
  Short,      // 2, big-endian
  Long,       // 4, big-endian
  Address,    // 4
  Addresses,  // 4 n, n > 0
  Text,       // at least one byte
};

// X(enumerator, code, name, type)
#define VMNAT_DHCP_OPTIONS(X)                                                                    \
  X(SubnetMask, 1, "subnet-mask", Address)                    /* RFC 2132 3.3 */                 \
  X(Router, 3, "router", Addresses)                           /* RFC 2132 3.5 */                 \
  X(DnsServers, 6, "dns-servers", Addresses)                  /* RFC 2132 3.8 */                 \
  X(HostName, 12, "host-name", Text)                          /* RFC 2132 3.14 */                \
  X(DomainName, 15, "domain-name", Text)                      /* RFC 2132 3.17 */                \
  X(InterfaceMtu, 26, "interface-mtu", Short)                 /* RFC 2132 5.1 */                 \
  X(BroadcastAddress, 28, "broadcast-address", Address)       /* RFC 2132 5.3 */                 \
  X(NtpServers, 42, "ntp-servers", Addresses)                 /* RFC 2132 8.3 */                 \
  X(RequestedAddress, 50, "requested-address", Address)       /* RFC 2132 9.1 */                 \
  X(LeaseTime, 51, "lease-time", Long)                        /* RFC 2132 9.2 */                 \
  X(Overload, 52, "overload", Byte)                           /* RFC 2132 9.3 */                 \
  X(MessageType, 53, "message-type", Byte)                    /* RFC 2132 9.6 */                 \
  X(ServerId, 54, "server-id", Address)                       /* RFC 2132 9.7 */                 \
  X(ParameterRequestList, 55, "parameter-request-list", Text) /* RFC 2132 9.8 */                 \
  X(ErrorText, 56, "message", Text)                           /* RFC 2132 9.9 */                 \
  X(MaxMessageSize, 57, "max-message-size", Short)            /* RFC 2132 9.10 */                \
  X(RenewalTime, 58, "renewal-time", Long)                    /* RFC 2132 9.11 */                \
  X(RebindingTime, 59, "rebinding-time", Long)                /* RFC 2132 9.12 */                \
  X(VendorClass, 60, "vendor-class", Text)                    /* RFC 2132 9.13 */                \
  X(ClientId, 61, "client-id", Text)                          /* RFC 2132 9.14, RFC 6842 */      \
  X(TftpServerName, 66, "tftp-server-name", Text)             /* RFC 2132 9.4 */                 \
  X(BootFileName, 67, "boot-file-name", Text)                 /* RFC 2132 9.5 */                 \
  X(UserClass, 77, "user-class", Raw)                         /* RFC 3004 */                     \
  X(RapidCommit, 80, "rapid-commit", Flag)                    /* RFC 4039 */                     \
  X(ClientFqdn, 81, "client-fqdn", Text)                      /* RFC 4702 */                     \
  X(RelayAgent, 82, "relay-agent", Raw)                       /* RFC 3046 */                     \
  X(ClientArch, 93, "client-arch", Raw)                       /* RFC 4578 2.1: list of shorts */ \
  X(DomainSearch, 119, "domain-search", Raw)                  /* RFC 3397 */                     \
  X(ClasslessRoutes, 121, "classless-routes", Raw)            /* RFC 3442 */                     \
  X(IpxeOptions, 175, "ipxe-options", Raw)                    /* IANA: by Etherboot, iPXE */     \
  X(ClasslessRoutesMicrosoft, 249, "classless-routes-microsoft", Raw)

enum class Option : std::uint8_t {
  Pad = 0,
#define VMNAT_X(enumerator, code, name, type) enumerator = (code),
  VMNAT_DHCP_OPTIONS(VMNAT_X)
#undef VMNAT_X
      End = 255,
};

struct OptionRule {
  Option code;
  std::string_view name;
  OptionType type;
};

inline constexpr OptionRule kOptionRules[] = {
#define VMNAT_X(enumerator, code, name, type) {Option::enumerator, name, OptionType::type},
    VMNAT_DHCP_OPTIONS(VMNAT_X)
#undef VMNAT_X
};

// The type of every code, known or not, in one load.
inline constexpr auto kOptionTypes = [] {
  std::array<OptionType, 256> types{};
  for (const OptionRule& rule : kOptionRules) types[static_cast<std::uint8_t>(rule.code)] = rule.type;
  return types;
}();
constexpr OptionType option_type(Option code) {
  return kOptionTypes[static_cast<std::uint8_t>(code)];
}

// Whether a value of `size` bytes can be one of `type`.
constexpr bool is_well_formed(OptionType type, std::size_t size) {
  switch (type) {
    case OptionType::Raw:
      return true;
    case OptionType::Flag:
      return size == 0;
    case OptionType::Byte:
      return size == 1;
    case OptionType::Short:
      return size == 2;
    case OptionType::Long:
    case OptionType::Address:
      return size == 4;
    case OptionType::Addresses:
      return size > 0 && size % 4 == 0;
    case OptionType::Text:
      return size > 0;
  }
  return false;
}
static_assert(option_type(Option::Router) == OptionType::Addresses &&
              option_type(Option{224}) == OptionType::Raw);
static_assert(is_well_formed(OptionType::Addresses, 8) && !is_well_formed(OptionType::Addresses, 7));

}  // namespace vmnat::dhcp
