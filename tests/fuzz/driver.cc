// SPDX-License-Identifier: Apache-2.0
// Drives a fuzz target without libFuzzer: mutates the target's seeds, and inputs made from them, for a while.
//
//   fuzz_dhcp_message --seconds 10 --seed 1        random inputs; the same seed makes the same inputs
//   fuzz_dhcp_message --write-seeds corpus         the seeds as files, for libFuzzer to start from
//   fuzz_dhcp_message crash.bin                    one input from a file, once
//
// Nothing guides the mutations by coverage: what finds is the sanitizers and the target's own checks. For
// hours there is libFuzzer, by `./run fuzz`. When the target ends the process, the input is in
// crash-<target>.bin, written by the handler of SIGABRT.
#include "tests/fuzz/driver.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <unistd.h>

// The sanitizers' own hooks: they end the process by SIGABRT too, so that the input is kept.
extern "C" const char* __asan_default_options() {
  return "abort_on_error=1";
}
extern "C" const char* __ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}

namespace {

using Input = std::vector<std::uint8_t>;
constexpr std::size_t kMaxSize = 4096;
constexpr std::size_t kOffspring = 256;

// The input being tried and the file for it, for the signal handler alone.
const Input* g_current = nullptr;
std::string g_crash_file;

void save_current_input(int) {
  const int file = open(g_crash_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file >= 0 && g_current != nullptr) {
    const auto written = write(file, g_current->data(), g_current->size());
    static_cast<void>(written);
  }
  std::signal(SIGABRT, SIG_DFL);
  std::raise(SIGABRT);
}

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed), pool_(vmnat::fuzz::seeds()) {
    if (pool_.empty()) pool_.emplace_back();
    seed_count_ = pool_.size();
  }

  const Input& seed(std::size_t index) const { return pool_[index]; }
  [[nodiscard]] std::size_t seed_count() const { return seed_count_; }

  // Half of the inputs are one step from a seed: offspring alone would drift to short noise.
  Input next() {
    Input input = pool_[below(below(2) == 0 ? seed_count_ : pool_.size())];
    for (std::size_t i = 1 + below(4); i > 0; --i) mutate(input);
    input.resize(std::min(input.size(), kMaxSize));
    if (below(16) == 0) remember(input);
    return input;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }
  std::uint8_t byte() { return static_cast<std::uint8_t>(random_()); }

  void remember(const Input& input) {
    if (pool_.size() < seed_count_ + kOffspring)
      pool_.push_back(input);
    else
      pool_[seed_count_ + below(kOffspring)] = input;
  }

  void mutate(Input& input) {
    static constexpr std::uint8_t kEdges[] = {0, 1, 2, 3, 4, 7, 8, 0x7f, 0x80, 0xfe, 0xff};
    if (input.empty()) {
      input.push_back(byte());
      return;
    }
    const auto at = static_cast<std::ptrdiff_t>(below(input.size()));
    const auto index = static_cast<std::size_t>(at);
    const std::size_t length = 1 + below(std::min<std::size_t>(input.size() - index, 32));
    const auto end = at + static_cast<std::ptrdiff_t>(length);
    switch (below(8)) {
      case 0:
        input[index] = byte();
        break;
      case 1:
        input[index] ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 2:
        input[index] = kEdges[below(std::size(kEdges))];
        break;
      case 3:
        input.resize(index);
        break;
      case 4:
        input.erase(input.begin() + at, input.begin() + end);
        break;
      case 5: {  // a piece once more, elsewhere
        const Input piece(input.begin() + at, input.begin() + end);
        input.insert(input.begin() + static_cast<std::ptrdiff_t>(below(input.size())), piece.begin(),
                     piece.end());
        break;
      }
      case 6:
        std::generate(input.begin() + at, input.begin() + end, [this] { return byte(); });
        break;
      default: {  // the rest of another input
        const Input& other = pool_[below(pool_.size())];
        if (other.empty()) break;
        input.resize(index);
        input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(below(other.size())),
                     other.end());
      }
    }
  }

  std::mt19937_64 random_;
  std::vector<Input> pool_;  // the seeds, then inputs made from them
  std::size_t seed_count_ = 0;
};

void try_input(const Input& input) {
  g_current = &input;
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

int run_file(const std::string& name) {
  std::ifstream file{name, std::ios::binary};
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", name.c_str());
    return 2;
  }
  const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
  try_input(Input{bytes.begin(), bytes.end()});
  return 0;
}

int write_seeds(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  std::size_t number = 0;
  for (const Input& seed : vmnat::fuzz::seeds()) {
    std::ofstream file{directory / ("seed-" + std::to_string(number++)), std::ios::binary};
    file.write(reinterpret_cast<const char*>(seed.data()), static_cast<std::streamsize>(seed.size()));
    if (!file) return 2;
  }
  return 0;
}

int run_random(std::chrono::seconds duration, std::uint64_t seed) {
  Mutator mutator{seed};
  for (std::size_t i = 0; i < mutator.seed_count(); ++i) try_input(Input{mutator.seed(i)});
  const auto end = std::chrono::steady_clock::now() + duration;
  std::uint64_t runs = 0;
  while (std::chrono::steady_clock::now() < end)
    for (int i = 0; i < 64; ++i, ++runs) try_input(mutator.next());
  std::printf("%llu inputs, seed %llu, no fault\n", static_cast<unsigned long long>(runs),
              static_cast<unsigned long long>(seed));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::chrono::seconds duration{10};
  std::uint64_t seed = 1;
  const std::string program{argv[0]};
  g_crash_file = "crash-" + program.substr(program.rfind('/') + 1) + ".bin";
  std::signal(SIGABRT, save_current_input);
  for (int i = 1; i < argc; ++i) {
    const std::string argument{argv[i]};
    if (argument == "--seconds" && i + 1 < argc) {
      duration = std::chrono::seconds{std::stol(argv[++i])};
    } else if (argument == "--seed" && i + 1 < argc) {
      seed = std::stoull(argv[++i]);
    } else if (argument == "--write-seeds" && i + 1 < argc) {
      return write_seeds(argv[++i]);
    } else {
      return run_file(argument);
    }
  }
  return run_random(duration, seed);
}
