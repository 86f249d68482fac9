#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/runner/many_ports.py: the devices have the ports that the generator attaches to, and the table says what was found."""
import sys
import unittest
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench/runner"))
from devices import Setting, Testpmd, Vmnatd  # noqa: E402
from many_ports import DEVICES, faults_of, head_of, row_of  # noqa: E402
from table import merged_points  # noqa: E402

SETTING = Setting(Path("/run/x"), Path("build"), 1, 0, True, 1024, "192.168.122.1/24", "")


def a_round(mpps, ticks, verified=True):
    sample = {"mpps": mpps, "loss": 0, "generator_busy": 0.5, "device_busy": 0.5, "device_ticks": ticks, "frames_per_burst": 3.5}
    return {"points": [{"flows": 10000, "frame": "64", "traffic": "both", "order": "random", "samples": [sample]}],
            "verified": verified, "faults": {}}


class Devices(unittest.TestCase):
    def test_each_port_has_a_socket_of_the_generators_pattern(self):
        for make in DEVICES.values():
            device = make(16, SETTING)
            pattern, uplink = device.ports()
            self.assertEqual([str(path) for path in device.sockets],
                             [*(pattern.replace("%", str(number)) for number in range(16)), uplink])

    def test_vmnatds_configuration_has_them_all(self):
        device = DEVICES["vmnat"](16, SETTING)
        configuration = yaml.safe_load(device.configuration())
        ports = configuration["networks"][0]["ports"]
        self.assertEqual([port["vhost_user"] for port in ports], [str(path) for path in device.sockets[:-1]])
        self.assertEqual(len({port["name"] for port in ports}), 16)
        self.assertIn(str(device.sockets[-1]), configuration["uplink"]["device"])

    def test_testpmd_has_them_and_the_uplink_and_sends_back(self):
        device = DEVICES["macswap"](16, SETTING)
        command = device.command()
        self.assertEqual([part.split("iface=")[1].split(",")[0] for part in command if part.startswith("--vdev")],
                         [str(path) for path in device.sockets])
        self.assertIn("--port-topology=loop", command)
        self.assertEqual(device.mode, "reflect")

    def test_of_one_port_the_generator_has_the_path_itself(self):
        for make in DEVICES.values():
            device = make(1, SETTING)
            self.assertEqual(device.ports(), tuple(map(str, device.sockets)))

    def test_one_port_is_as_ever(self):
        for device in (Testpmd(SETTING, "io"), Vmnatd(SETTING)):
            self.assertEqual(device.sockets, [Path("/run/x/vm.sock"), Path("/run/x/uplink.sock")])
            self.assertEqual(device.ports(), ("/run/x/vm.sock", "/run/x/uplink.sock"))


class Table(unittest.TestCase):
    def case(self, **rounds):
        return {"ports": 16, "burst": 4, "points": merged_points(rounds), "rounds": rounds}

    def test_a_row_has_rates_ticks_bursts_and_the_ratio_of_ticks(self):
        case = self.case(macswap=[a_round(8, 300), a_round(6, 200)], vmnat=[a_round(5, 200), a_round(5, 100)])
        row = row_of(case, case["points"][0])
        self.assertEqual(row.split()[:5], ["16", "4", "10000", "64", "both"])
        self.assertEqual([cell.split() for cell in row.split("|")[1:3]], [["7.00", "250", "3.5"], ["5.00", "150", "3.5"]])
        self.assertIn("1.75", row.split("|")[3])
        self.assertIn("macswap/vmnat", head_of(["macswap", "vmnat"]))

    def test_a_device_alone_has_no_ratio(self):
        case = self.case(vmnat=[a_round(5, 200)])
        self.assertEqual(row_of({**case, "burst": None}, case["points"][0]).split()[:2], ["16", "-"])
        self.assertNotIn("/", head_of(["vmnat"]))

    def test_what_was_not_verified_is_a_fault(self):
        self.assertEqual(faults_of(self.case(vmnat=[a_round(5, 200)])), [])
        self.assertEqual(len(faults_of(self.case(vmnat=[a_round(5, 200), a_round(5, 200, verified=False)]))), 1)


if __name__ == "__main__":
    unittest.main()
