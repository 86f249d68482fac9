# SPDX-License-Identifier: Apache-2.0
"""Linux as a NAT gateway in a network namespace of its own, by what the end-to-end tests know about namespaces."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))
from harness.namespace import Namespace, veth  # noqa: E402

__all__ = ["Namespace", "forward_and_translate", "veth"]


def forward_and_translate(gateway, uplink, translation="masquerade to :1024-65535"):
    """IPv4 forwarding; connection tracking and source NAT of TCP and UDP by nftables."""
    gateway.forward_ipv4()
    gateway.run("nft", f"""
        table ip nat {{
            chain post {{
                type nat hook postrouting priority srcnat
                oifname {uplink} meta l4proto {{ tcp, udp }} {translation}
            }}
        }}""")
