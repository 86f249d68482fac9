// SPDX-License-Identifier: Apache-2.0
// The lease journal as bytes: what must survive a crash, appended record by record.
//
//   "vmnat-leases 1\n" | record | record | ...
//   record: marker 4 | length of body 2 | CRC-32C of the body 4 | body      (little-endian)
//   body:   state 1 | address 4 | mac 6 | expires 8 (ms since 1970) | texts
//   texts:  port, hostname, client_id, each as length 1 | bytes
//
// The last record of an address counts. A record that was not written whole, or was damaged since, fails its
// checksum, and reading goes on at the next marker: only that record is lost. A journal only ever grows;
// writing it anew, with one record an address, compacts it.
#pragma once

#include <span>
#include <vector>

#include "dhcp/lease.h"
#include "dhcp/message.h"

namespace vmnat::dhcp {

// What a journal starts with.
Bytes journal_header();

// The bytes to append for these leases. Texts are cut at 255 bytes.
Bytes journal_records(std::span<const Lease> leases);

struct JournalContent {
  std::vector<Lease> leases;      // one per address, ascending
  std::size_t records = 0;        // read and valid
  std::size_t damaged_bytes = 0;  // belong to no valid record
  bool is_journal = false;        // the header is there; without it nothing is read
};
JournalContent read_journal(ByteView bytes);

}  // namespace vmnat::dhcp
