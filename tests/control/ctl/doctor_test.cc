// SPDX-License-Identifier: Apache-2.0
// `vmnatctl doctor` against a server that answers as vmnatd would, and without one.
#include "control/ctl/doctor.h"

#include <fstream>
#include <gmock/gmock.h>

#include "tests/support/admin_fixture.h"
#include "tests/support/vmnatctl_fixture.h"

namespace vmnat::ctl {
namespace {

using admin::Answer;
using nlohmann::json;
using ::testing::HasSubstr;

const json kError{{"id", "uplink-down"},        {"severity", "error"},    {"object", "uplink"},
                  {"seen", "eth1 has no link"}, {"means", "No network."}, {"mend", "ip link"}};
const json kNote{{"id", "cpu-governor"},      {"severity", "note"}, {"object", "CPU 2"},
                 {"seen", "it is powersave"}, {"means", "Slow."},   {"mend", "cpupower"}};

struct DoctorCommand : VmnatctlTest {
  // vmnatctl's exit code where vmnatd finds these.
  int found(const json& findings) {
    admin::RunningServer server(path);
    server.answer("doctor", [&](const json&) { return Answer::list_of(findings); });
    return run({"doctor"});
  }
  std::string configuration() {
    const std::string file = dir / "vmnat.yaml";
    std::ofstream(file) << "uplink: 7\n";
    return file;
  }
};

TEST_F(DoctorCommand, PrintsFindingsForAPerson) {
  EXPECT_EQ(found(json::array({kError, kNote})), 1);
  EXPECT_EQ(out,
            "error  uplink-down   uplink: eth1 has no link\n"
            "       means  No network.\n"
            "       mend   ip link\n"
            "note   cpu-governor  CPU 2: it is powersave\n"
            "       means  Slow.\n"
            "       mend   cpupower\n");
}

TEST_F(DoctorCommand, CountsNotesForNothing) {
  EXPECT_EQ(found(json::array({kNote})), 0);
  EXPECT_THAT(out, HasSubstr("cpupower\nnothing found\n"));
  EXPECT_EQ(found(json::array()), 0);
  EXPECT_EQ(out, "nothing found\n");
}

TEST_F(DoctorCommand, PrintsAnArray) {
  admin::RunningServer server(path);
  server.answer("doctor", [](const json&) { return Answer::list_of(json::array({kError})); });
  EXPECT_EQ(run({"--json", "doctor"}), 1);
  EXPECT_EQ(json::parse(out), json::array({kError}));
}

TEST_F(DoctorCommand, LooksByItselfWhereNobodyAnswers) {
  EXPECT_EQ(run({"--json", "doctor", "--config", configuration()}), 1);
  const json found = json::parse(out);
  ASSERT_GE(found.size(), 2u);
  EXPECT_EQ(found[0]["id"], "daemon-not-running");
  EXPECT_THAT(found[0]["seen"], HasSubstr("there is no socket"));
  EXPECT_EQ(found[1]["id"], "config-invalid");
}

TEST_F(DoctorCommand, AsksNobodyOffline) {
  admin::RunningServer server(path);
  EXPECT_EQ(run({"--json", "doctor", "--offline", "--config", configuration()}), 1);
  EXPECT_EQ(json::parse(out)[0]["id"], "config-invalid");
}

TEST_F(DoctorCommand, SaysThatItCannotAsk) {
  EXPECT_EQ(run({"doctor", "--config", dir / "nothing.yaml"}), 2);
  EXPECT_THAT(err, HasSubstr("nothing.yaml cannot be read"));
  admin::RunningServer older(path);
  EXPECT_EQ(run({"doctor", "--config", configuration()}), 2) << "a vmnatd that knows no doctor: " << err;
}

}  // namespace
}  // namespace vmnat::ctl
