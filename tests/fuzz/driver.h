// SPDX-License-Identifier: Apache-2.0
// What a fuzz target gives: the function that takes any bytes and must survive them (libFuzzer's signature),
// and a few good inputs to start from.
//
// A target reports a broken promise by `fault`, which ends the process as a memory error would. Built
// with driver.cc it is a program of its own; built with clang's -fsanitize=fuzzer libFuzzer drives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace vmnat::fuzz {

// Inputs that a target takes deep into its code; mutations start from them.
std::vector<std::vector<std::uint8_t>> seeds();

[[noreturn]] inline void fault(const std::string& what) {
  std::fprintf(stderr, "fuzz: %s\n", what.c_str());
  std::abort();
}

}  // namespace vmnat::fuzz
