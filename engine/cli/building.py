"""``lock``, ``build`` and ``base``: environments without running anything."""

from __future__ import annotations

from pathlib import Path

from engine import pipeline
from engine.cli.terminal import Terminal, print_json, say, size_text, table
from engine.digests import bare
from engine.errors import BadInput
from engine.settings import find_home
from engine.software import Base


def lock(notebook: Path, wanted: pipeline.Wanted, *, as_json: bool) -> int:
    """Write NAME.requirements.lock beside the notebook."""
    path, lock = pipeline.lock(notebook, wanted, find_home(), Terminal())
    if as_json:
        print_json({"lock": str(path), "distributions": {item.name: item.version for item in lock.distributions}})
    else:
        print(f"{path}: {len(lock.distributions)} distributions")
    return 0


def build(notebook: Path, wanted: pipeline.Wanted, *, as_json: bool) -> int:
    """Build the image and print its id."""
    image, lock = pipeline.build(notebook, wanted, find_home(), Terminal())
    if as_json:
        print_json(
            {
                "image": image.id,
                "base": image.base,
                "layers": len(image.layers),
                "lock": lock.text,
                "wheels": {wheel.filename: wheel.sha256 for wheel in image.wheels},
            }
        )
    else:
        print(image.id)
    return 0


def base_build(image: str | None, *, repin: bool, as_json: bool) -> int:
    """Build the base, or that of an image of a registry, or find it built."""
    if image is not None and repin:
        raise BadInput("--from and --repin contradict each other: an image has its own packages.", "Leave one out.")
    terminal = Terminal()
    if image is None:
        base = pipeline.base_build(find_home(), terminal, repin=repin)
    else:
        base = pipeline.base_from(image, find_home(), terminal)
        terminal.clear()
    if as_json:
        print_json(_base_json(base))
    else:
        _print_bases([base])
    return 0


def base_list(*, as_json: bool) -> int:
    """The bases in the home."""
    bases = pipeline.base_list(find_home())
    if as_json:
        print_json([_base_json(base) for base in bases])
    elif bases:
        _print_bases(list(bases))
    else:
        say("No base yet; `nbseal base build` makes one, and so does the first run.")
    return 0


def base_export(identity: str, output: Path) -> int:
    """Write a base to a file."""
    pipeline.base_export(identity, output, find_home(), Terminal())
    print(output)
    return 0


def base_import(file: Path) -> int:
    """Take a base from a file."""
    _print_bases([pipeline.base_import(file, find_home(), Terminal())])
    return 0


def _base_json(base: Base) -> dict[str, object]:
    size = sum(layer.size for layer in base.layers)
    packages = len(base.packages)
    known = {"id": base.id, "python": base.python, "platform": base.platform, "packages": packages, "size": size}
    return {**known, "from": base.origin.reference if base.origin else None}


def _print_bases(bases: list[Base]) -> None:
    rows = [
        [
            bare(item.id)[:12],
            item.python,
            size_text(sum(layer.size for layer in item.layers)),
            item.origin.reference if item.origin else f"{len(item.packages)} Debian packages",
        ]
        for item in bases
    ]
    print(table(["base", "python", "size", "from"], rows))
