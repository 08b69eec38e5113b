"""``runs``, ``show``, ``logs``, ``open``: the commands that only read."""

from __future__ import annotations

import os
import webbrowser

from engine import pipeline
from engine.cli import show as one
from engine.cli.show import seal_json
from engine.cli.terminal import Terminal, print_json, say, seconds_text, styled, table
from engine.model import Seal, json_number
from engine.results import clean_text
from engine.settings import find_home
from engine.store import known_keys, logged_seal


def runs(*, everything: bool, as_json: bool) -> int:
    """The runs, newest first; experiments only when ``everything`` is asked for."""
    home = find_home()
    summaries = [item for item in pipeline.runs(home, Terminal()) if everything or not item.experiment]
    signers = known_keys(home)
    if as_json:
        print_json(
            [
                {
                    "id": item.id,
                    "hash": item.hash,
                    "status": item.status,
                    "notebook": item.notebook,
                    "created": item.created,
                    "duration": item.duration,
                    "flags": item.flags,
                    "scalars": {name: json_number(value) for name, value in item.scalars.items()},
                    "verdict": item.verdict,
                    "rerun_of": item.rerun_of,
                    "experiment": item.experiment,
                    "label": item.history.label,
                    "seal": seal_json(logged_seal(item.history, signers)),
                }
                for item in summaries
            ]
        )
        return 0
    if not summaries:
        say(f"No runs yet in {home.root}; `nbseal run NOTEBOOK` makes the first.")
        return 0
    rows = [
        [
            item.id[:8],
            item.hash[:8],
            item.status,
            item.created[:16].replace("T", " "),
            seconds_text(item.duration) if item.duration else "",
            clean_text(item.notebook),
            clean_text(item.history.label),
            _signature(logged_seal(item.history, signers)),
            *([item.experiment] if everything else []),
            "  ".join(clean_text(f"{name}={value:g}") for name, value in list(item.scalars.items())[:4]),
        ]
        for item in summaries
    ]
    header = ["run", "hash", "status", "created (UTC)", "took", "notebook", "label", "signed"]
    print(table([*header, *(["experiment"] if everything else []), "scalars"], rows))
    return 0


def show(prefix: str, *, as_json: bool) -> int:
    """One run."""
    home = find_home()
    record = pipeline.find(prefix, home, Terminal())
    return one.show(record, pipeline.look(record, home), as_json=as_json)


def _signature(seal: Seal) -> str:
    """By whom, in a column; a dash for a run that is not sealed yet."""
    if not seal.digest:
        return "-"
    return {"trusted": clean_text(seal.signer), "unknown": "unknown key"}.get(seal.signature, seal.signature)


def logs(prefix: str, *, as_json: bool) -> int:
    """The cells' text output, and the container's own when the kernel said something there."""
    text = pipeline.logs(prefix, find_home(), Terminal())
    if as_json:
        print_json({"text": text})
    else:
        print(clean_text(text), end="" if text.endswith("\n") or not text else "\n")
    return 0


def open_page(prefix: str, *, as_json: bool) -> int:
    """Write the page and show it where a browser is at hand; its path is printed in any case."""
    page = pipeline.page(prefix, find_home(), Terminal())
    if as_json:
        print_json({"page": str(page)})
        return 0
    print(page)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(page.as_uri())
    else:
        text = "There is no display here; copy the page or open it from another machine."
        say(styled(text, "dim", to_stderr=True), coloured=True)
    return 0
