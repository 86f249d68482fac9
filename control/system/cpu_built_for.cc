// SPDX-License-Identifier: Apache-2.0
// Compiled for the CPU that the product is compiled for: what the compiler says of itself here, it may use anywhere.
// Constants alone, so nothing of this file ever runs.
#include "control/system/cpu_features.h"

namespace vmnat::control {
namespace {

// The macro of a feature that is off expands to its own name.
constexpr bool is_defined(const char* name, const char* expanded) {
  for (; *name == *expanded; ++name, ++expanded)
    if (*name == '\0') return false;
  return true;
}
static_assert(is_defined("__AVX__", "1") && is_defined("__AVX__", "") && !is_defined("__AVX__", "__AVX__"));

constexpr CpuFeatures bit_of(CpuFeature feature, bool is_on) {
  return is_on ? 1u << static_cast<unsigned>(feature) : 0u;
}

}  // namespace

#define VMNAT_TEXT(text) #text
#define VMNAT_BIT(name, place, bit, saved, macro) \
  bit_of(CpuFeature::name, is_defined(#macro, VMNAT_TEXT(macro))) |
constinit const CpuFeatures kCpuBuiltFor = VMNAT_CPU_FEATURES(VMNAT_BIT) 0u;
#undef VMNAT_BIT
#undef VMNAT_TEXT

constinit const char* const kCpuBuiltForName = VMNAT_CPU;

}  // namespace vmnat::control
