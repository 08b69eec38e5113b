"""``run`` and ``rerun``: execute, say how it ended, judge."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

from engine import pipeline
from engine.cli.live import CellProgress
from engine.cli.show import announce, judge, record_json, summarise
from engine.cli.signers import unlock
from engine.cli.terminal import Terminal, print_json, say, table
from engine.cli.verifying import verdict_code
from engine.errors import BadInput
from engine.model import Limits, Record, Verdict
from engine.settings import Home, find_home


def environment(
    requirement: list[str] | None,
    files: list[Path] | None,
    resolver: Literal["uv", "pip-tools"],
    upgrade: bool,
    locked: bool,
    as_of: str | None,
    base: str | None,
) -> pipeline.Wanted:
    """What the command line says of the environment; BadInput when two options contradict each other."""
    if upgrade and locked:
        raise BadInput("--upgrade and --locked contradict each other.", "Leave one of them out.")
    return pipeline.Wanted(tuple(requirement or ()), tuple(files or ()), resolver, upgrade, locked, as_of, base or "")


def limits(timeout: float | None, cell_timeout: float | None, memory: str | None) -> Limits:
    """Limits from the command line; ``memory`` is a number with k, m or g (powers of 1024, as Docker has it)."""
    for seconds in (timeout, cell_timeout):
        if seconds is not None and not math.isfinite(seconds):
            raise BadInput(f"A limit of {seconds} seconds is none.", "Leave the option out for no limit.")
    return Limits(timeout=timeout, cell_timeout=cell_timeout, memory=_bytes(memory) if memory else None)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?", text.strip(), re.IGNORECASE)
    if match is None:
        raise BadInput(f"The memory limit '{text}' is not a size.", "Write it as 512m or 4g.")
    number = float(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2].lower()]
    if number > 1 << 50:
        raise BadInput(f"The memory limit '{text[:40]}' is more than any machine has.", "Write it as 512m or 4g.")
    size = int(number)
    if size < 64 << 20:
        raise BadInput(f"A memory limit of {text} is too small for a kernel to start.", "Give at least 64m.")
    return size


def where(host: str | None, via: str | None, *, detach: bool) -> pipeline.Where:
    """Where a run goes."""
    return pipeline.Where(host or "", detach, via or "")


def help_flags(notebook: Path, *, as_json: bool) -> int:
    """List the flags of a notebook with type, default and where each was found."""
    flags = pipeline.flags(notebook)
    if as_json:
        print_json(
            [{"name": flag.name, "type": flag.type, "default": flag.default, "origin": flag.origin} for flag in flags]
        )
    elif flags:
        places = [f"{flag.origin}, cell {flag.places[-1].cell + 1}" for flag in flags]
        rows = [[flag.name, flag.type, place, flag.default] for flag, place in zip(flags, places, strict=True)]
        print(table(["flag", "type", "found in", "default"], rows))
    else:
        say(f"{notebook.name} has no flags: no top-level literal assignment, parameters cell or Colab form.")
    return 0


def run(
    notebook: Path,
    assignments: list[str],
    inputs: list[str],
    wanted: pipeline.Wanted,
    limits: Limits,
    *,
    deterministic: bool,
    where: pipeline.Where,
    gpus: str | None,
    as_json: bool,
) -> int:
    """Run a notebook; the exit code says how it ended."""
    terminal = Terminal()
    request = pipeline.Request(notebook, tuple(assignments), tuple(inputs), wanted, limits, deterministic, where, gpus)
    home = find_home()
    unlock(home)
    record = pipeline.run(request, home, terminal, CellProgress(terminal))
    terminal.clear()
    _print(record, home, as_json=as_json)
    return exit_code(record)


def rerun(prefix: str, limits: Limits, at_least: Verdict, where: pipeline.Where, *, cpu: bool, as_json: bool) -> int:
    """Repeat a run; the exit code judges the comparison, whether or not the notebook fails as it did before."""
    terminal = Terminal()
    home = find_home()
    unlock(home)
    record = pipeline.rerun(prefix, limits, home, terminal, CellProgress(terminal), where, cpu=cpu)
    terminal.clear()
    _print(record, home, as_json=as_json)
    if record.comparison is None:
        return exit_code(record)
    if not as_json:
        judge(record.comparison, record.rerun_of)
    return verdict_code(record.comparison, at_least)


def rerun_with(
    prefix: str, assignments: list[str], limits: Limits, where: pipeline.Where, *, cpu: bool, as_json: bool
) -> int:
    """Run the spec of a run with other flag values; nothing is compared, and the exit code says how it ended."""
    terminal = Terminal()
    home = find_home()
    unlock(home)
    show = CellProgress(terminal)
    record = pipeline.rerun(prefix, limits, home, terminal, show, where, assignments=tuple(assignments), cpu=cpu)
    terminal.clear()
    _print(record, home, as_json=as_json)
    return exit_code(record)


def rebuild(prefix: str, *, as_json: bool) -> int:
    """Pack the image of a run again and compare ids; 0 when they are the same, else 4."""
    terminal = Terminal()
    recorded, rebuilt = pipeline.rebuild_image(prefix, find_home(), terminal)
    terminal.clear()
    equal = rebuilt == recorded.image
    if as_json:
        print_json({"run": recorded.id, "image": recorded.image, "rebuilt": rebuilt, "equal": equal})
    else:
        print(f"recorded  {recorded.image}\nrebuilt   {rebuilt}\n{'equal' if equal else 'different'}")
    return 0 if equal else 4


def refuse_judging(*, judged: bool) -> None:
    """BadInput: with other flag values there is nothing to compare with."""
    if judged:
        raise BadInput(
            "--with makes another spec, so there is nothing that --exact or --at-least could judge.",
            "Leave them out, or rerun without --with.",
        )


def refuse_beside_image_only(assignments: list[str], limits: Limits, *, judged: bool, several: bool) -> None:
    """BadInput for what has no meaning when nothing is run."""
    if several:
        raise BadInput("--image-only packs the image of one run.", "Name the runs one after the other.")
    if assignments or judged or limits != Limits():
        raise BadInput(
            "--image-only runs nothing, so flags, limits and verdicts have no meaning beside it.",
            "Leave the other options out.",
        )


def attach(prefix: str, *, as_json: bool) -> int:
    """Follow a run that nobody follows; the exit code says how it ended."""
    terminal = Terminal()
    home = find_home()
    unlock(home)
    record = pipeline.attach(prefix, home, terminal, CellProgress(terminal))
    terminal.clear()
    _print(record, home, as_json=as_json)
    return exit_code(record)


def stop(prefix: str, host: str, *, as_json: bool) -> int:
    """Stop a run that is under way, as Ctrl-C does it."""
    terminal = Terminal()
    home = find_home()
    unlock(home)
    stopped = pipeline.stop(prefix, host, home, terminal)
    terminal.clear()
    if as_json:
        print_json({"run": stopped.run, "host": stopped.host, "status": stopped.status})
    else:
        print(f"{stopped.run}  {stopped.status}")
    return 0


def _print(record: Record, home: Home, *, as_json: bool) -> None:
    announce(record)
    shown = pipeline.look(record, home)
    if as_json:
        print_json(record_json(record, shown))
    else:
        summarise(record, shown)


def exit_code(record: Record) -> int:
    """docs/reference/exit-codes.md: 0 completed, 1 the notebook failed or was lost, 130 interrupted."""
    return {"completed": 0, "running": 0, "interrupted": 130}.get(record.status, 1)
