// SPDX-License-Identifier: Apache-2.0
// What is written here of CPUs is from their vendors' documents, and from the psABI for the levels: not from the table.
#include "control/system/cpu_features.h"

#include <gtest/gtest.h>
#include <string>

namespace vmnat::control {
namespace {

constexpr CpuFeatures set_of(std::initializer_list<CpuFeature> features) {
  CpuFeatures set = 0;
  for (const CpuFeature feature : features) set |= 1u << static_cast<unsigned>(feature);
  return set;
}

using enum CpuFeature;
constexpr CpuFeatures kV2 = set_of({sse3, ssse3, cmpxchg16b, sse4_1, sse4_2, popcnt});
constexpr CpuFeatures kV3 = kV2 | set_of({avx, avx2, bmi1, bmi2, f16c, fma, lzcnt, movbe});
constexpr CpuFeatures kV4 = kV3 | set_of({avx512f, avx512bw, avx512cd, avx512dq, avx512vl});

// Registers as those CPUs tell them: leaf 1 ECX, leaf 7 EBX, leaf 0x80000001 ECX, XCR0.
constexpr CpuIdentity kNehalem{{0x009ce3bd, 0, 0x00000001}, 0};
constexpr CpuIdentity kHaswell{{0x7ffafbff, 0x000027ab, 0x00000021}, 0x07};
constexpr CpuIdentity kSkylakeServer{{0x7ffefbff, 0xd39ffffb, 0x00000121}, 0xe7};
// A CPU with all of it under a kernel that saves the old registers alone.
constexpr CpuIdentity kUnsaved{kSkylakeServer.registers[0], kSkylakeServer.registers[1],
                               kSkylakeServer.registers[2], 0x03};

TEST(CpuFeatures, AreReadFromTheRegistersOfKnownCpus) {
  EXPECT_EQ(cpu_features(kNehalem), kV2);
  EXPECT_EQ(cpu_features(kHaswell), kV3);
  EXPECT_EQ(cpu_features(kSkylakeServer), kV4);
  EXPECT_EQ(cpu_features({}), 0u);
}

TEST(CpuFeatures, AreNotThereWithoutAKernelThatSavesTheirRegisters) {
  EXPECT_EQ(cpu_features(kUnsaved), kV2 | set_of({bmi1, bmi2, lzcnt, movbe}));
  CpuIdentity no_avx512 = kSkylakeServer;
  no_avx512.saved = 0x07;
  EXPECT_EQ(cpu_features(no_avx512), kV3);
}

std::string complaint(CpuFeatures missing, unsigned room = 1024) {
  std::string text(room, '#');
  text.resize(write_cpu_complaint("vmnatd", missing, text.data(), room));
  return text;
}

TEST(CpuFeatures, ThatAreMissingAreNamed) {
  EXPECT_EQ(
      complaint(set_of({avx2, lzcnt})),
      std::string("vmnatd: cannot start: it is compiled for ") + kCpuBuiltForName +
          ", and this CPU, or the hypervisor above it, lacks avx2, lzcnt; built with -Dcpu=native on this "
          "machine it would run\n");
  EXPECT_EQ(complaint(set_of({avx2}), 10), "vmnatd: ca");
}

TEST(CpuFeatures, ComplaintsHaveRoomForAllOfThem) {
  EXPECT_TRUE(complaint(~0u).ends_with("would run\n"));
}

// This test runs, so this CPU has what the compiler may use; and every x86-64 compiler has macros for these.
TEST(CpuFeatures, ThatTheProgramIsCompiledForAreTheCompilers) {
#ifdef __AVX2__
  EXPECT_EQ(kCpuBuiltFor & set_of({avx, avx2}), set_of({avx, avx2}));
#else
  EXPECT_EQ(kCpuBuiltFor & set_of({avx2}), 0u);
#endif
#ifdef __SSE4_2__
  EXPECT_EQ(kCpuBuiltFor & set_of({sse3, ssse3, sse4_1, sse4_2, popcnt}),
            set_of({sse3, ssse3, sse4_1, sse4_2, popcnt}));
#endif
}

}  // namespace
}  // namespace vmnat::control
