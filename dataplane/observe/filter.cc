// SPDX-License-Identifier: Apache-2.0
// The machine of McCanne and Jacobson, "The BSD Packet Filter", 1993: two registers, 16 words of memory.
#include "dataplane/observe/filter.h"

#include <array>

namespace vmnat::dataplane {
namespace {

// What a code is made of.
enum Class : std::uint16_t { Ld, Ldx, St, Stx, Alu, Jmp, Ret, Misc };
constexpr std::uint16_t kSizeW = 0x00, kSizeH = 0x08, kSizeB = 0x10;
constexpr std::uint16_t kImm = 0x00, kAbs = 0x20, kInd = 0x40, kMem = 0x60, kLen = 0x80, kMsh = 0xa0;
constexpr std::uint16_t kFromX = 0x08, kRetA = 0x10, kTxa = 0x80;
constexpr std::uint16_t kAdd = 0x00, kSub = 0x10, kMul = 0x20, kDiv = 0x30, kOr = 0x40, kAnd = 0x50,
                        kLsh = 0x60, kRsh = 0x70, kNeg = 0x80, kMod = 0x90, kXor = 0xa0;
constexpr std::uint16_t kJa = 0x00, kJeq = 0x10, kJgt = 0x20, kJge = 0x30, kJset = 0x40;
constexpr unsigned kWords = 16;

constexpr Class class_of(std::uint16_t code) {
  return static_cast<Class>(code & 0x07);
}
constexpr std::uint16_t size_of(std::uint16_t code) {
  return code & 0x18;
}
constexpr std::uint16_t mode_of(std::uint16_t code) {
  return code & 0xe0;
}
constexpr std::uint16_t operation_of(std::uint16_t code) {
  return code & 0xf0;
}
constexpr std::uint32_t bytes_of(std::uint16_t code) {
  return size_of(code) == kSizeW ? 4 : size_of(code) == kSizeH ? 2 : 1;
}

// --- the check -----------------------------------------------------------------------------------

bool is_load(std::uint16_t code) {
  const std::uint16_t mode = mode_of(code);
  if (mode == kAbs || mode == kInd) return size_of(code) != 0x18;
  return size_of(code) == kSizeW && (mode == kImm || mode == kLen || mode == kMem);
}

bool is_load_of_index(std::uint16_t code) {
  const std::uint16_t mode = mode_of(code);
  if (mode == kMsh) return size_of(code) == kSizeB;
  return size_of(code) == kSizeW && (mode == kImm || mode == kLen || mode == kMem);
}

bool is_known(std::uint16_t code) {
  if (code > 0xff) return false;
  switch (class_of(code)) {
    case Ld:
      return is_load(code);
    case Ldx:
      return is_load_of_index(code);
    case St:
    case Stx:
      return code == class_of(code);
    case Alu:
      return operation_of(code) <= kXor && (operation_of(code) != kNeg || (code & kFromX) == 0);
    case Jmp:
      return operation_of(code) <= kJset && (operation_of(code) != kJa || (code & kFromX) == 0);
    case Ret:
      return code == Ret || code == (Ret | kRetA);
    case Misc:
      return code == Misc || code == (Misc | kTxa);
  }
  return false;
}

bool uses_memory(std::uint16_t code) {
  const Class of = class_of(code);
  return of == St || of == Stx || ((of == Ld || of == Ldx) && mode_of(code) == kMem);
}

// Of a calculation.
std::string_view problem_of_constant(const FilterStep& step) {
  const std::uint16_t operation = operation_of(step.code);
  if ((operation == kDiv || operation == kMod) && step.value == 0) return "a division by zero";
  if ((operation == kLsh || operation == kRsh) && step.value >= 32)
    return "a shift by more bits than there are";
  return "";
}

std::string_view problem_of_step(const FilterStep& step, std::size_t behind) {
  if (!is_known(step.code)) return "an instruction that there is not";
  if (uses_memory(step.code) && step.value >= kWords) return "a word of memory that there is not";
  if (class_of(step.code) == Alu && (step.code & kFromX) == 0)
    if (const auto problem = problem_of_constant(step); !problem.empty()) return problem;
  const std::uint16_t operation = operation_of(step.code);
  if (class_of(step.code) != Jmp) return behind == 0 && class_of(step.code) != Ret ? "no end" : "";
  const bool leads_on =
      operation == kJa ? step.value < behind : step.if_true < behind && step.if_false < behind;
  return leads_on ? "" : "a jump backwards or beyond the end";
}

// --- the run -------------------------------------------------------------------------------------

struct Machine {
  std::uint32_t a = 0, x = 0;
  std::array<std::uint32_t, kWords> memory{};

  // False: the frame has no such bytes, and the filter does not take it.
  bool load(const FilterStep& step, const FrameView& frame) {
    switch (mode_of(step.code)) {
      case kAbs:
        return frame.read(step.value, bytes_of(step.code), a);
      case kInd:
        return x <= UINT32_MAX - step.value && frame.read(x + step.value, bytes_of(step.code), a);
      case kMem:
        a = memory[step.value];
        return true;
      default:
        a = mode_of(step.code) == kLen ? frame.length() : step.value;
        return true;
    }
  }

  bool load_index(const FilterStep& step, const FrameView& frame) {
    switch (mode_of(step.code)) {
      case kMsh:  // the length of an IPv4 header, by its first byte
        if (!frame.read(step.value, 1, x)) return false;
        x = (x & 0xf) << 2;
        return true;
      case kMem:
        x = memory[step.value];
        return true;
      default:
        x = mode_of(step.code) == kLen ? frame.length() : step.value;
        return true;
    }
  }

  // False: by zero.
  bool divide(std::uint16_t operation, std::uint32_t by) {
    if (by == 0) return false;
    a = operation == kDiv ? a / by : a % by;
    return true;
  }

  bool calculate(const FilterStep& step) {
    const std::uint32_t by = (step.code & kFromX) != 0 ? x : step.value;
    switch (operation_of(step.code)) {
      case kAdd:
        a += by;
        return true;
      case kSub:
        a -= by;
        return true;
      case kMul:
        a *= by;
        return true;
      case kOr:
        a |= by;
        return true;
      case kAnd:
        a &= by;
        return true;
      case kXor:
        a ^= by;
        return true;
      case kLsh:
        a = by < 32 ? a << by : 0;
        return true;
      case kRsh:
        a = by < 32 ? a >> by : 0;
        return true;
      case kNeg:
        a = 0 - a;
        return true;
      default:
        return divide(operation_of(step.code), by);
    }
  }

  // How many steps are left out.
  [[nodiscard]] std::uint32_t jump(const FilterStep& step) const {
    const std::uint32_t with = (step.code & kFromX) != 0 ? x : step.value;
    switch (operation_of(step.code)) {
      case kJeq:
        return a == with ? step.if_true : step.if_false;
      case kJgt:
        return a > with ? step.if_true : step.if_false;
      case kJge:
        return a >= with ? step.if_true : step.if_false;
      case kJset:
        return (a & with) != 0 ? step.if_true : step.if_false;
      default:
        return step.value;
    }
  }
};

}  // namespace

std::string_view Filter::problem_of(std::span<const FilterStep> steps) {
  if (steps.empty()) return "no end";
  if (steps.size() > kMostSteps) return "too many instructions";
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (const auto problem = problem_of_step(steps[i], steps.size() - 1 - i); !problem.empty())
      return problem;
  return "";
}

std::uint32_t Filter::run(const FrameView& frame) const {
  Machine machine;
  for (std::size_t at = 0;; ++at) {
    const FilterStep& step = steps_[at];
    bool goes_on = true;
    switch (class_of(step.code)) {
      case Ld:
        goes_on = machine.load(step, frame);
        break;
      case Ldx:
        goes_on = machine.load_index(step, frame);
        break;
      case St:
        machine.memory[step.value] = machine.a;
        break;
      case Stx:
        machine.memory[step.value] = machine.x;
        break;
      case Alu:
        goes_on = machine.calculate(step);
        break;
      case Jmp:
        at += machine.jump(step);
        break;
      case Ret:
        return (step.code & kRetA) != 0 ? machine.a : step.value;
      case Misc:
        ((step.code & kTxa) != 0 ? machine.a : machine.x) = (step.code & kTxa) != 0 ? machine.x : machine.a;
        break;
    }
    if (!goes_on) return 0;
  }
}

}  // namespace vmnat::dataplane
