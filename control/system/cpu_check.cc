// SPDX-License-Identifier: Apache-2.0
// Ends a program that this CPU cannot run, with a sentence and exit status 2, before it runs anything else.
//
// The loader calls what .preinit_array has before any constructor, those of shared libraries too; only then comes code
// that was compiled for the newer CPU. Compiled for the oldest x86-64, and linked whole into each program.
#include <cpuid.h>
#include <cstddef>
#include <unistd.h>

#include "control/system/cpu_features.h"

namespace vmnat::control {
namespace {

constexpr int kCannotStart = 2;  // as options.h has it, which is not for this room

CpuIdentity this_cpu() {
  constexpr unsigned kHasXgetbv = 1u << 27;
  CpuIdentity identity{};
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  const auto place = [&identity](CpuidRegister which) -> unsigned& {
    return identity.registers[static_cast<unsigned>(which)];
  };
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) place(CpuidRegister::Leaf1Ecx) = ecx;
  if ((ecx & kHasXgetbv) != 0) {
    unsigned high = 0;
    asm volatile("xgetbv" : "=a"(identity.saved), "=d"(high) : "c"(0));
  }
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) place(CpuidRegister::Leaf7Ebx) = ebx;
  if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) != 0) place(CpuidRegister::ExtendedLeaf1Ecx) = ecx;
  return identity;
}

const char* file_name(const char* path) {
  const char* name = path;
  for (; *path != '\0'; ++path)
    if (*path == '/') name = path + 1;
  return name;
}

void check_cpu(int argc, char** argv, char**) {
  const CpuFeatures missing = kCpuBuiltFor & ~cpu_features(this_cpu());
  if (missing == 0) return;
  char text[1024];
  const unsigned length =
      write_cpu_complaint(argc > 0 ? file_name(argv[0]) : "vmnat", missing, text, sizeof text);
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, length);
  _exit(kCannotStart);
}

using Preinit = void (*)(int, char**, char**);
__attribute__((section(".preinit_array"), used)) constinit const Preinit kCheckCpu = check_cpu;

}  // namespace
}  // namespace vmnat::control
