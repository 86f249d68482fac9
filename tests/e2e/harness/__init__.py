# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests and the demo stand on; README.md beside this folder says how it fits together.

    namespace.py  network namespaces, veth pairs, leak watch    processes.py  children that cannot outlive us
    daemon.py     vmnatd and vmnatctl                           vm.py         a real Linux VM in QEMU
    internet.py   a router, a far host, web and DNS servers     wire.py       raw frames on a veth end
    tftp.py       UDP datagrams of any size, both ways
    tap.py        subtests as sentences, checks                 config.py     configurations as dictionaries
"""
