"""What makes a folder of installed distributions a virtual environment of the image's Python."""

from __future__ import annotations

from engine.environments.tars import Link, Tree
from engine.software import Base


def frame(prefix: str, base: Base) -> Tree:
    """The files of a virtual environment (PEP 405) at ``prefix`` for the Python of ``base``."""
    python, interpreter = base.python, base.interpreter
    major_minor = ".".join(python.split(".")[:2])
    settings = f"home = {interpreter.rpartition('/')[0]}\ninclude-system-site-packages = false\nversion = {python}\n"
    root = prefix.lstrip("/")
    return {
        f"{root}/pyvenv.cfg": settings.encode(),
        f"{root}/bin/python3": Link(interpreter),
        f"{root}/bin/python": Link("python3"),
        f"{root}/bin/python{major_minor}": Link("python3"),
        f"{root}/lib64": Link("lib"),
        f"{root}/lib/python{major_minor}/site-packages/.keep": b"",
    }
