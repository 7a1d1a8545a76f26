"""The process that keeps the sampler running: it must outlive whatever becomes of the sampler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from throughline.evaluator.sampling import supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Stands for the sampler: notes its process id, and its last step when it is told to end.
SAMPLER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
def end(*_):
    (folder / "stored").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with (folder / "pids").open("a") as file:
    print(os.getpid(), file=file)
while True:
    time.sleep(0.05)
"""
RUN = """
import signal, sys
from throughline.evaluator.sampling import supervisor
supervisor.FIRST_PAUSE_SECONDS = 0.05
one = supervisor.Supervisor([sys.executable, *sys.argv[1:]])
signal.signal(signal.SIGTERM, one.tell)
sys.exit(one.run())
"""
SECONDS = 60.0


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen([sys.executable, "-c", RUN, "-c", SAMPLER, str(tmp_path)], stdout=subprocess.PIPE)
    yield made
    made.terminate()
    made.wait(SECONDS)


def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_killed_sampler_is_followed_by_another(running: subprocess.Popen[bytes], tmp_path: Path) -> None:
    for number in range(1, 4):
        until(lambda: len(pids(tmp_path)) == number)  # noqa: B023 - it is called before the next
        os.kill(pids(tmp_path)[-1], signal.SIGKILL)
    until(lambda: len(pids(tmp_path)) == 4)
    assert running.poll() is None
    assert len(set(pids(tmp_path))) == 4


def test_told_to_end_it_waits_for_the_samplers_last_step(running: subprocess.Popen[bytes], tmp_path: Path) -> None:
    until(lambda: bool(pids(tmp_path)))
    running.terminate()
    assert running.wait(SECONDS) == 0
    assert (tmp_path / "stored").exists()
    assert len(pids(tmp_path)) == 1


def test_a_sampler_that_refuses_its_declaration_does_not_end_the_container() -> None:
    command = [sys.executable, "-c", RUN, *supervisor.SAMPLER[1:], "--storage=/nowhere"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
        assert made.stdout is not None
        said = [json.loads(made.stdout.readline()) for _ in range(2)]
        assert made.poll() is None
        made.terminate()
    assert said == [{"ended": 2, "againInSeconds": 0.05}, {"ended": 2, "againInSeconds": 0.1}]
