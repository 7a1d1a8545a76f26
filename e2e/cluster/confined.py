"""The caller's side of a module run in its own namespaces under a guard (guard.py)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from . import leftovers
from .cache import REPOSITORY, Cache, Instance
from .channel import Channel, Message
from .errors import ClusterError

Progress = Callable[[str], object]
CLEANUP_SECONDS = 60.0
LOG_TAIL_CHARACTERS = 2000


class Confined:
    """`python3 -m MODULE CACHE INSTANCE FD ARGUMENTS…`, which ends with us and leaves nothing."""

    def __init__(
        self, cache: Cache, kind: str, module: str, *arguments: str, own_network: bool, fds: tuple[int, ...] = ()
    ) -> None:
        self._instance = Instance.create(cache, kind)
        self.directory = self._instance.directory
        self._requests = threading.Lock()
        ours, theirs = socket.socketpair()
        python_path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        passed = (self._instance.lock, theirs.fileno(), *fds)
        try:
            with (self.directory / "sandbox.log").open("wb") as log:
                self._guard = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "e2e.cluster.guard", str(self.directory)),
                        *("net" if own_network else "-", ",".join(map(str, passed))),
                        *(
                            sys.executable,
                            "-m",
                            module,
                            str(cache.root),
                            str(self.directory),
                            str(theirs.fileno()),
                            *arguments,
                        ),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=passed,
                    env={**os.environ, "PYTHONPATH": python_path},
                    # Ctrl-C in a terminal goes to the whole process group: the guard must outlive it to clean up.
                    start_new_session=True,
                )
        except BaseException:
            leftovers.remove(self.directory)
            self._instance.close()
            raise
        finally:
            theirs.close()
        self._channel = Channel(ours)

    def wait_for(self, key: str, progress: Progress) -> Message:
        """Pass progress on until a message with the key comes."""
        while (message := self._channel.receive()) is not None:
            if "error" in message:
                raise ClusterError(message["error"])
            if key in message:
                return message
            progress(message["progress"])
        raise ClusterError(f"ended unexpectedly: {self._log_tail()}")

    def request(self, timeout_seconds: float, **message: str) -> Message:
        with self._requests:
            try:
                self._channel.send(**message)
                reply = self._channel.receive(timeout_seconds)
            except BrokenPipeError:
                reply = None
            if reply is None:
                raise ClusterError("the cluster has stopped")
            if "error" in reply:
                raise ClusterError(reply["error"])
            return reply

    def wait_for_end(self) -> str:
        """Block until it ends by itself; the reason it gave."""
        reason = ""
        while (message := self._channel.receive()) is not None:
            reason = message.get("error", reason)
        return reason or "it was killed"

    def close(self) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            self._guard.wait(CLEANUP_SECONDS)
        finally:
            self._channel.close()
            if self._guard.poll() is not None:
                # The guard has removed everything, unless it was itself killed.
                leftovers.remove(self.directory)
            self._instance.close()

    def _log_tail(self) -> str:
        with contextlib.suppress(FileNotFoundError):  # the guard may have cleaned up already
            return (self.directory / "sandbox.log").read_text(errors="replace")[-LOG_TAIL_CHARACTERS:].strip()
        return "no log is left"


def read_arguments(argv: list[str]) -> tuple[Cache, pathlib.Path, Channel, list[str]]:
    """What the confined module finds on its command line."""
    cache, directory, fd, *rest = argv
    return Cache(pathlib.Path(cache)), pathlib.Path(directory), Channel(socket.socket(fileno=int(fd))), rest
