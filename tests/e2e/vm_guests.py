#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Guests that are not Linux in QEMU: other drivers (U-Boot, UEFI) and another VMM (user-mode-linux), on default ports.

    default   192.168.122.1/24   uboot, ovmf: QEMU listens; uml: vmnatd does, and offers no packed rings
    boot      the beginning of the blob, by TFTP from the host on the Internet: through the NAT

docs/guests.md has the recipes.
"""

import pathlib
import re
import zlib

from harness import config
from harness.console import Firmware
from harness.daemon import Vmnatd
from harness.internet import HOST, Internet, blob_digest
from harness.internet_host import blob
from harness.namespace import Namespace
from harness.processes import Process
from harness.tap import Skipped, Suite, check, check_equal, scratch_directory
from harness.vm import image

GATEWAY = "192.168.122.1"
MACS = {"uboot": "52:54:00:aa:00:01", "ovmf": "52:54:00:aa:00:02"}
BOOT_BYTES = 65536
UBOOT, OVMF = pathlib.Path("/usr/lib/u-boot/qemu-x86_64/u-boot.rom"), pathlib.Path("/usr/share/ovmf/OVMF.fd")
UML, UML_MODULES = pathlib.Path("/usr/bin/linux.uml"), pathlib.Path("/usr/lib/uml/modules")


class Lab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        gateway = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(self.directory, gateway))
        ports = [config.vhost_user_port(name, self.socket(name)) for name in MACS]
        ports.append(config.vhost_user_port("uml", self.socket("uml"), "server") | {"features": {"without": ["packed"]}})
        network = config.network(
            "default", f"{GATEWAY}/24", ports,
            dhcp=config.dhcp("192.168.122.2", "192.168.122.254", boot={"server": HOST, "file": str(BOOT_BYTES)}))
        self.vmnatd = scope.enter_context(Vmnatd(
            self.directory, config.configuration(self.directory, "uplink0", [network]), namespace=gateway))

    def socket(self, name):
        return self.directory / f"{name}.sock"

    def firmware(self, name, rom):
        if not rom.exists():
            raise Skipped(f"{rom} is not installed")
        return Firmware(self.directory, name, rom, self.socket(name), MACS[name])

    def lease_on(self, port):
        leases = [lease for lease in self.vmnatd.ctl("leases") if lease["port"] == port]
        check_equal(len(leases), 1, f"leases on port {port}")
        return leases[0]

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


@suite.test("U-Boot gets a lease, pings the gateway and the Internet, and loads its boot file byte for byte")
def uboot(lab):
    with lab.firmware("uboot", UBOOT) as firmware:
        firmware.expect("any key to stop autoboot", 120)
        firmware.say("")
        firmware.expect("=> ")
        firmware.say("pci; virtio scan")
        firmware.expect("=> ")
        firmware.say("dhcp 0x1000000")
        given = firmware.expect(rf"Bytes transferred = {BOOT_BYTES} ", 120)
        check(f"DHCP client bound to address {lab.lease_on('uboot')['address']} " in given, given)
        # Its MAC is not looked at: U-Boot 2023.01 reads six times the first byte of it from QEMU's device.
        firmware.say(f"crc32 0x1000000 {BOOT_BYTES:x}")
        firmware.expect(f"==> {zlib.crc32(blob()[:BOOT_BYTES]):08x}")
        for address in (GATEWAY, HOST):
            firmware.say(f"ping {address}")
            firmware.expect(f"host {address} is alive")


@suite.test("UEFI's driver gets a lease and its boot file by PXE")
def ovmf(lab):
    with lab.firmware("ovmf", OVMF) as firmware:
        firmware.expect("Start PXE over IPv4", 180)
        seen = firmware.expect("NBP file downloaded successfully", 180)
        lease = lab.lease_on("ovmf")
        check_equal(lease["mac"], MACS["ovmf"], "whose lease it is")
        for says in (f"Station IP address is {lease['address']}", f"Server IP address is {HOST}",
                     f"NBP filename is {BOOT_BYTES}", f"NBP filesize is {BOOT_BYTES} Bytes"):
            check(says in seen, f"no {says!r} in\n{seen}")


def uml_initramfs(directory):
    files = {"bin/busybox": (image.BUSYBOX.read_bytes(), 0o755),
             "init": ((image.HERE / "init_uml").read_bytes(), 0o755),
             "etc/udhcpc.script": ((image.HERE / "udhcpc.script").read_bytes(), 0o755)}
    modules = image.modules_in_load_order(UML_MODULES, ["virtio_net"])
    files["modules/order"] = ("".join(f"{name}.ko\n" for name in modules).encode(), 0o644)
    files |= {f"modules/{name}.ko": (content, 0o644) for name, content in modules.items()}
    path = directory / "uml.initramfs"
    path.write_bytes(image.cpio(files))
    return path


@suite.test("user-mode-linux, a VMM without a control queue, gets a lease, pings, and downloads 10 MB")
def user_mode_linux(lab):
    if not UML.exists():
        raise Skipped(f"{UML} is not installed")
    if "amx_tile" in pathlib.Path("/proc/cpuinfo").read_text():
        raise Skipped("this CPU has AMX: user-mode-linux 6.1 has no room for its registers, and does not start")
    guest = Process([UML, "mem=96M", f"initrd={uml_initramfs(lab.directory)}",
                     f"virtio_uml.device={lab.socket('uml')}:1", "con=null", "con0=null,fd:1", "quiet", "panic=1"],
                    lab.directory / "uml.log", environment={"TMPDIR": str(lab.directory)})
    with guest:
        guest.wait(120)
        log = guest.log()
    check(f"@@lease ip={lab.lease_on('uml')['address']}" in log, log)
    for address in (GATEWAY, HOST):
        check(re.search(rf"@@ping {re.escape(address)} .*3 packets received", log), log)
    check(f"@@download {blob_digest()}" in log, log)


@suite.test("every frame is accounted for, and none left by the uplink with an inside source address")
def accounting(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


if __name__ == "__main__":
    suite.main()
