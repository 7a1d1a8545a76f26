"""containerd in a mount namespace of its own, so that it, like a real node, has the standard paths to itself."""

from __future__ import annotations

import pathlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SOCKET = pathlib.Path("/run/containerd/containerd.sock")
# Shown to the node's processes in place of the host's: they write to fixed paths below these.
PRIVATE_FOLDERS = ("var/lib", "var/log")
# restrict_oom_score_adj: a sandbox may not hold CAP_SYS_RESOURCE, and runc then fails to lower the score.
CONFIGURATION = """version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{root}/cni"
"""


def command(root: pathlib.Path, pause_image: str) -> list[str]:
    """Starts containerd for the node whose files are under `root`; the namespace is that of the process."""
    for folder in PRIVATE_FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    configuration = root / "containerd.toml"
    configuration.write_text(CONFIGURATION.format(pause=pause_image, root=root))
    binds = [f'mount --bind "{root}/{folder}" "/{folder}"' for folder in PRIVATE_FOLDERS]
    script = " && ".join([*binds, "mount -t tmpfs tmpfs /run", f'exec containerd --config "{configuration}"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def inside(pid: int, *argv: str | pathlib.Path) -> list[str]:
    """A command line that runs `argv` where the containerd with that pid sees its paths."""
    return ["nsenter", f"--mount=/proc/{pid}/ns/mnt", *map(str, argv)]


def is_up(pid: int) -> bool:
    """Whether it answers, not only listens."""
    return subprocess.run(inside(pid, "ctr", "version"), capture_output=True, check=False).returncode == 0


def imported(pid: int) -> Sequence[str]:
    """The command line that imports an archive of images from its standard input."""
    return inside(pid, "ctr", "--namespace", "k8s.io", "images", "import", "-")
