// SPDX-License-Identifier: Apache-2.0
// What a CPU has, and what a program was compiled for: a bit a feature.
//
// With -march=x86-64-v3 the compiler may use AVX2 anywhere, and on a CPU without it the program would end by an
// illegal instruction, before it could say why. So before anything else a program compares what it was compiled for
// with what there is (cpu_check.cc), and says what is missing. A row of the table is a feature that the compiler uses
// by itself, up to x86-64-v4: its name, and where cpuid tells of it.
//
// Plain data and functions, nothing inline: an inline function exists once in a program, perhaps in an object that was
// compiled for the newer CPU.
#pragma once

namespace vmnat::control {

// name of the CPU's manual, register of cpuid, bit, registers that the kernel has to save, macro of the compiler
#define VMNAT_CPU_FEATURES(ROW)                                                  \
  ROW(sse3, Leaf1Ecx, 0, kNoneSaved, __SSE3__)                                   \
  ROW(ssse3, Leaf1Ecx, 9, kNoneSaved, __SSSE3__)                                 \
  ROW(fma, Leaf1Ecx, 12, kAvxSaved, __FMA__)                                     \
  ROW(cmpxchg16b, Leaf1Ecx, 13, kNoneSaved, __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16) \
  ROW(sse4_1, Leaf1Ecx, 19, kNoneSaved, __SSE4_1__)                              \
  ROW(sse4_2, Leaf1Ecx, 20, kNoneSaved, __SSE4_2__)                              \
  ROW(movbe, Leaf1Ecx, 22, kNoneSaved, __MOVBE__)                                \
  ROW(popcnt, Leaf1Ecx, 23, kNoneSaved, __POPCNT__)                              \
  ROW(avx, Leaf1Ecx, 28, kAvxSaved, __AVX__)                                     \
  ROW(f16c, Leaf1Ecx, 29, kAvxSaved, __F16C__)                                   \
  ROW(bmi1, Leaf7Ebx, 3, kNoneSaved, __BMI__)                                    \
  ROW(avx2, Leaf7Ebx, 5, kAvxSaved, __AVX2__)                                    \
  ROW(bmi2, Leaf7Ebx, 8, kNoneSaved, __BMI2__)                                   \
  ROW(avx512f, Leaf7Ebx, 16, kAvx512Saved, __AVX512F__)                          \
  ROW(avx512dq, Leaf7Ebx, 17, kAvx512Saved, __AVX512DQ__)                        \
  ROW(avx512cd, Leaf7Ebx, 28, kAvx512Saved, __AVX512CD__)                        \
  ROW(avx512bw, Leaf7Ebx, 30, kAvx512Saved, __AVX512BW__)                        \
  ROW(avx512vl, Leaf7Ebx, 31, kAvx512Saved, __AVX512VL__)                        \
  ROW(lzcnt, ExtendedLeaf1Ecx, 5, kNoneSaved, __LZCNT__)

#define VMNAT_ENUMERATOR(name, ...) name,
enum class CpuFeature : unsigned {
  VMNAT_CPU_FEATURES(VMNAT_ENUMERATOR) Count
};  // NOLINT: names of the manual
#undef VMNAT_ENUMERATOR

using CpuFeatures = unsigned;  // bit n: feature n
static_assert(static_cast<unsigned>(CpuFeature::Count) <= 32);

enum class CpuidRegister : unsigned { Leaf1Ecx, Leaf7Ebx, ExtendedLeaf1Ecx, Count };
// Bits of XCR0: without them the registers are as good as missing.
inline constexpr unsigned kNoneSaved = 0, kAvxSaved = 0x06, kAvx512Saved = 0xe6;

struct CpuIdentity {
  unsigned registers[static_cast<unsigned>(CpuidRegister::Count)];
  unsigned saved;  // the low half of XCR0; 0: there is none
};

// The features that this program was compiled to use, and the name of the CPU that it was compiled for.
extern const CpuFeatures kCpuBuiltFor;
extern const char* const kCpuBuiltForName;

CpuFeatures cpu_features(const CpuIdentity& identity);

// Writes the sentence that says what is missing, as much as there is room for, and returns its length.
unsigned write_cpu_complaint(const char* program, CpuFeatures missing, char* text, unsigned room);

}  // namespace vmnat::control
