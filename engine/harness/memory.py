"""What the kernel of the operating system says about memory: who was killed for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

#: Where the count of processes killed for memory stands: cgroup v2, then v1 (admin-guide/cgroup-v2, cgroup-v1/memory).
_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def count_oom_kills() -> int:
    """How many processes of this container the kernel has killed for memory; 0 when it cannot be told."""
    for path in _COUNTERS:
        try:
            for line in path.read_text("ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        except (OSError, ValueError):
            continue
    return 0


def prefer_as_victim(pid: int) -> None:
    """Have a process, and its children, killed for memory before any other, so that the harness survives to tell.

    Anyone may raise the score of an own process (proc(5), oom_score_adj).
    """
    with suppress(OSError):  # it may have ended already; only the choice of the victim is lost
        Path(f"/proc/{pid}/oom_score_adj").write_text("500", "ascii")


def format_bytes(size: int | None) -> str:
    """``512 MiB``; empty for None."""
    if size is None:
        return ""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:.4g} {unit}"
