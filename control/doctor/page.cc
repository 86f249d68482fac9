// SPDX-License-Identifier: Apache-2.0
#include "control/doctor/page.h"

#include <cctype>
#include <fmt/format.h>

#include "control/doctor/findings.h"

namespace vmnat::doctor {
namespace {

constexpr std::string_view kHead = R"(# What the doctor finds
`vmnatctl doctor` looks at the host, the configuration and the running vmnatd for what keeps VMs from their network, and
says of each finding what was seen, what it means, and the command that mends it. This page is made from
[findings.h](../control/doctor/findings.h) by `ninja -C build doctor_page`.

    vmnatctl doctor                        # asks vmnatd; where none answers, looks by itself, by the configuration file
    vmnatctl doctor --config FILE          # that file, where no vmnatd answers; /etc/vmnat/vmnat.yaml
    vmnatctl doctor --offline              # asks no vmnatd, though one may run
    vmnatctl --json doctor                 # an array of objects; /api/doctor over HTTP answers the same

| exit status | |
|---|---|
| 0 | nothing found, or notes alone |
| 1 | errors or warnings were found |
| 2 | wrong usage, or nothing could be asked: no permission for the admin socket, no such file |

An **error** does not work, or will not after the next start; a **warning** works, but slower, not for long, or not for
everybody; a **note** could be better, and counts for nothing. Of counts, *lately* means the last minute or two. In JSON
each finding has `id`, `severity`, `object` (what is to be looked at), `seen`, `means` and `mend`. The ids are part of the
interface: they may come, and are not renamed.

vmnatd looks at the host on a thread of its own, with its own rights: it starts no program, changes nothing, and neither
packets nor control wait for it. What it may not see is no finding. As root, `--offline` sees more of other processes, and
nothing of what only vmnatd knows.

)";

// The command with its names in capitals: "ip link set {interface} up" is `ip link set INTERFACE up`.
std::string command_text(std::string_view mend) {
  std::string text;
  bool is_name = false;
  for (std::size_t i = 0; i < mend.size(); ++i) {
    const char c = mend[i];
    const bool is_double = i + 1 < mend.size() && mend[i + 1] == c && (c == '{' || c == '}');
    // "{{{key}" is a brace, and a name.
    if (is_double && !is_name)
      text += mend[++i];
    else if (c == '{' || c == '}')
      is_name = c == '{';
    else if (c == '|')
      text += "\\|";
    else
      text += is_name ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
  }
  return text;
}

}  // namespace

std::string doctor_page() {
  std::string page{kHead};
  for (const Section& section : kSections) {
    page += fmt::format("## {}\n| finding | | what it means | what mends it |\n|---|---|---|---|\n",
                        section.title);
    for (const Row& row : section.rows)
      page += fmt::format("| `{}` | {} | {} | `{}` |\n", row.id, to_word(row.severity), row.means,
                          command_text(row.mend));
    page += "\n";
  }
  page.pop_back();
  return page;
}

}  // namespace vmnat::doctor
