# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition instead of for a time: polls, and gives up with a sentence.

    wait_until(lambda: "vmnatd ready" in log(), "vmnatd is ready", seconds=30)

Deadlines are generous: they end a hang, they do not measure. VMNAT_PATIENCE multiplies all of them, for
machines that are slower than the usual two cores.
"""

import os
import time

PATIENCE = float(os.environ.get("VMNAT_PATIENCE", "1"))


class Overdue(Exception):
    """What was waited for did not happen in time."""


def deadline_in(seconds) -> float:
    return time.monotonic() + seconds * PATIENCE


def wait_until(condition, what, seconds=30):
    """Returns the first true answer of condition(); raises Overdue when none comes in time."""
    deadline = deadline_in(seconds)
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Overdue(f"not within {seconds * PATIENCE:g} s: {what}")
        time.sleep(0.02)
