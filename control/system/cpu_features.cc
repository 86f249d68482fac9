// SPDX-License-Identifier: Apache-2.0
// Compiled for the oldest x86-64, as cpu_check.cc is.
#include "control/system/cpu_features.h"

namespace vmnat::control {
namespace {

struct Row {
  const char* name;
  CpuidRegister place;
  unsigned bit;
  unsigned saved;
};
#define VMNAT_ROW(name, place, bit, saved, macro) {#name, CpuidRegister::place, bit, saved},
constexpr Row kRows[] = {VMNAT_CPU_FEATURES(VMNAT_ROW)};
#undef VMNAT_ROW
constexpr unsigned kCount = sizeof kRows / sizeof kRows[0];

struct Text {
  char* bytes = nullptr;
  unsigned room = 0;
  unsigned length = 0;
};

void append(Text& text, const char* more) {
  for (; *more != '\0' && text.length < text.room; ++more) text.bytes[text.length++] = *more;
}

}  // namespace

CpuFeatures cpu_features(const CpuIdentity& identity) {
  CpuFeatures features = 0;
  for (unsigned i = 0; i < kCount; ++i) {
    const Row& row = kRows[i];
    const bool is_there = (identity.registers[static_cast<unsigned>(row.place)] >> row.bit & 1u) != 0;
    const bool is_saved = (identity.saved & row.saved) == row.saved;
    if (is_there && is_saved) features |= 1u << i;
  }
  return features;
}

unsigned write_cpu_complaint(const char* program, CpuFeatures missing, char* text, unsigned room) {
  Text complaint;
  complaint.bytes = text;
  complaint.room = room;
  append(complaint, program);
  append(complaint, ": cannot start: it is compiled for ");
  append(complaint, kCpuBuiltForName);
  append(complaint, ", and this CPU, or the hypervisor above it, lacks");
  const char* separator = " ";
  for (unsigned i = 0; i < kCount; ++i) {
    if ((missing >> i & 1u) == 0) continue;
    append(complaint, separator);
    append(complaint, kRows[i].name);
    separator = ", ";
  }
  append(complaint, "; built with -Dcpu=native on this machine it would run\n");
  return complaint.length;
}

}  // namespace vmnat::control
