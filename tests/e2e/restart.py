#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmnatd stops, or is killed, under a running VM and starts again: the VM goes on, with the address it has."""

from harness.internet import HOST
from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from vm_lab import MAC, VmLab


def make_lab(scope):
    lab = VmLab(scope)
    lab.start_vmnatd()
    lab.address = lab.start_vm().obtain_lease()["ip"]
    return lab


suite = Suite(make_lab)


def check_goes_on(lab):
    wait_until(lambda: lab.vm.ping(HOST), "the VM reaches the Internet again", seconds=60)
    lab.check_reaches_internet()
    lab.download()


def check_same_lease(lab):
    leases = [(entry["address"], entry["mac"]) for entry in lab.vmnatd.ctl("leases")]
    check((lab.address, MAC) in leases, f"the lease of {lab.address} is forgotten: {leases}")
    check_equal(lab.vm.obtain_lease()["ip"], lab.address, "the address after asking again")


@suite.test("stopped and started again under a running VM: its traffic goes on")
def stopped(lab):
    lab.vmnatd.stop()
    lab.vmnatd.start()
    check_goes_on(lab)


@suite.test("after the restart the lease is still known, and the VM gets the same address")
def lease_after_stop(lab):
    check_same_lease(lab)


@suite.test("killed with SIGKILL in mid-download and started again: its traffic goes on")
def killed(lab):
    lab.vm.run(f"(wget -q -O /dev/null http://{HOST}/blob) >/dev/null 2>&1 &").check()
    lab.vmnatd.kill()
    lab.vmnatd.start()
    check_goes_on(lab)


@suite.test("after the kill the lease is still known, and the VM gets the same address")
def lease_after_kill(lab):
    check_same_lease(lab)


@suite.test("after all of this every frame is accounted for, and none leaked")
def accounts(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


if __name__ == "__main__":
    suite.main()
