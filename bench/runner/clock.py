# SPDX-License-Identifier: Apache-2.0
"""The other end of vmnat-bench's --device-clock: tells it what the device's worker has done, whenever it asks."""
import contextlib
import socket
import threading


@contextlib.contextmanager
def device_clock(device):
    """Yields the descriptor that the generator is given. What went wrong with the device meanwhile is raised at the end."""
    ours, theirs = socket.socketpair()
    failures = []
    thread = threading.Thread(target=_answer, args=(ours, device, failures))
    thread.start()
    try:
        yield theirs.fileno()
    finally:
        theirs.close()  # the generator's is closed by its end
        with contextlib.suppress(OSError):  # the thread may have ended by now, and closed it
            ours.shutdown(socket.SHUT_RD)
        thread.join()
    if failures:
        raise failures[0]


def _answer(ours, device, failures):
    with ours, ours.makefile("rw") as lines:
        try:
            for _ in lines:
                work = device.work()
                lines.write("{} {}\n".format(*work) if work else "-\n")
                lines.flush()
        except Exception as failure:
            failures.append(failure)
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
