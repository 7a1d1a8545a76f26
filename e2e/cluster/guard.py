"""The process that stands between a caller and what runs for it, and cleans up after both.

    python3 -m e2e.cluster.guard DIRECTORY ISOLATE FD[,FD...] COMMAND...

It runs COMMAND as the first process of new mount and pid namespaces (and network, if ISOLATE is "net"). If the caller
closes our standard input, ends in whatever way, or COMMAND ends, the kernel ends every process of those namespaces and
we remove what the instance left on the host. If we are killed ourselves, the namespaces end with us, and the next start
of a cluster removes the rest.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import select
import signal
import subprocess
import sys

from . import leftovers
from .cache import INSTANCE_VARIABLE

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.5


def main(directory: str, isolate: str, fds: str, *command: str) -> int:
    instance = pathlib.Path(directory)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    # As a subreaper we inherit, and can wait for, the namespaces' first process after `unshare` is killed.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    parent = os.getppid()
    inherited = [int(fd) for fd in fds.split(",")]
    try:
        sandbox = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"),
                *(["--net"] if isolate == "net" else []),
                *command,
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=inherited,
            env={**os.environ, INSTANCE_VARIABLE: instance.name},
        )
        for fd in inherited:
            os.close(fd)
        # `unshare` stays outside the pid namespace but is inside the network's: others enter that through it.
        (instance / "pid").write_text(str(sandbox.pid))
        while sandbox.poll() is None and os.getppid() == parent:
            if select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                break
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _end_children(instance)
        leftovers.remove(instance)
    return 0


def _stop(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _end_children(instance: pathlib.Path) -> None:
    for pid in leftovers.processes_of(instance):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
