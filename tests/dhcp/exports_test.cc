// SPDX-License-Identifier: Apache-2.0
#include "dhcp/exports.h"

#include <gtest/gtest.h>

#include "tests/dhcp/request_frame.h"

namespace vmnat::dhcp::test {
namespace {

std::vector<Lease> samples() {
  const auto lease = [](const char* address, LeaseState state) {
    return Lease{
        .address = ip(address), .mac = mac("52:54:00:00:00:01"), .expires = at_second(3600), .state = state};
  };
  std::vector<Lease> leases = {
      lease("192.168.122.5", LeaseState::Bound), lease("192.168.122.6", LeaseState::Offered),
      lease("192.168.122.7", LeaseState::Released), lease("192.168.122.8", LeaseState::Bound)};
  leases[3].hostname = "vm1";
  leases[3].client_id = hex("01 52 54 00 ab");
  return leases;
}

TEST(Exports, DnsmasqLinesHoldBoundLeasesAndStarsForWhatIsMissing) {
  EXPECT_EQ(dnsmasq_lease_lines(samples()),
            "1700003600 52:54:00:00:00:01 192.168.122.5 * *\n"
            "1700003600 52:54:00:00:00:01 192.168.122.8 vm1 01:52:54:00:ab\n");
  EXPECT_EQ(dnsmasq_lease_lines({}), "");
}

TEST(Exports, ALeaseForEverHasZeroForItsEnd) {
  auto leases = samples();
  leases.resize(1);
  leases[0].expires = kNever;
  EXPECT_EQ(dnsmasq_lease_lines(leases), "0 52:54:00:00:00:01 192.168.122.5 * *\n");
  EXPECT_NE(libvirt_status(leases).find("\"expiry-time\": 0\n"), std::string::npos);
}

TEST(Exports, LibvirtStatusIsAnArrayOfBoundLeases) {
  EXPECT_EQ(libvirt_status(samples()), R"([
  {
    "ip-address": "192.168.122.5",
    "mac-address": "52:54:00:00:00:01",
    "expiry-time": 1700003600
  },
  {
    "ip-address": "192.168.122.8",
    "mac-address": "52:54:00:00:00:01",
    "hostname": "vm1",
    "client-id": "01:52:54:00:ab",
    "expiry-time": 1700003600
  }
]
)");
  EXPECT_EQ(libvirt_status({}), "[\n]\n");
}

}  // namespace
}  // namespace vmnat::dhcp::test
