"""Run the tests about container engines against others than this machine's.

``python -m scripts.test_engines [NAME...] [-k ...]``: they are made and started for the tests. ``this`` is the engine
of this machine, as docker's own settings name it, against which `make test` runs all tests. Arguments that are no
names go to pytest. Prints a Markdown table; exits 1 when a test failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from xml.etree import ElementTree

from engine import daemon
from engine.settings import find_home
from tests.engine.other_engines import OTHERS, running

THIS = "this"
#: What is asked of an engine: its images, its containers, and what it says when something goes wrong.
MODULES = (
    "base",
    "execution",
    "hosts",
    "image",
    "killed",
    "lock",
    "lost_answers",
    "remote_engine",
    "rerun",
    "run",
    "sealing",
    "verify",
)
_ALONE = "works on files of runs, once an engine is done with them"
_SECOND = "asks the engine of a second machine, which is this machine's dockerd whatever is under test"
_AS_RUN = "asks of the engine what the tests of runs ask"
#: What is not, and why.
LEFT_OUT = {
    "archive": _ALONE,
    "archive_killed": _ALONE,
    "audit": _ALONE,
    "audit_by_hand": _ALONE,
    "comparing": _AS_RUN,
    "concurrency": _SECOND,
    "diagnose": _AS_RUN,
    "foreign_base": "asks a registry for layers, and of the engine what the tests of bases ask",
    "gpus": f"{_SECOND}; but CDI is asked of this one",
    "identity": "asks nothing of an engine but one run",
    "import": "loads an image as the tests of images do",
    "import_killed": _ALONE,
    "machines": _SECOND,
    "registry": _ALONE,
    "remote_runs": _SECOND,
    "sending": _SECOND,
    "sending_via": _SECOND,
    "wheel": _AS_RUN,
}


def main(arguments: Sequence[str]) -> int:
    names = [argument for argument in arguments if argument in (THIS, *OTHERS)]
    more = [argument for argument in arguments if argument not in names]
    rows, failed = [], False
    for name in names or OTHERS:
        began = time.monotonic()
        with _engine(name) as said:
            print(f"{name}: {said}", file=sys.stderr, flush=True)
            counts, status = _test(name, more)
        failed |= status != 0
        rows.append((name, said, *map(str, counts), f"{time.monotonic() - began:.0f} s"))
    for row in (("engine", "what it is", "passed", "failed", "known to fail", "time"), ("---",) * 6, *rows):
        print(f"| {' | '.join(row)} |")
    return int(failed)


@contextmanager
def _engine(name: str) -> Iterator[str]:
    """Let this process and its children use an engine; what it says of itself."""
    if name == THIS:
        yield _described()
        return
    before = os.environ.get("DOCKER_HOST")
    with running(name) as url:
        os.environ["DOCKER_HOST"] = url
        try:
            yield _described()
        finally:
            os.environ.pop("DOCKER_HOST")
            if before is not None:
                os.environ["DOCKER_HOST"] = before


def _described() -> str:
    engine = daemon.connect()
    return f"{engine.name} {engine.version}, {engine.storage}"


def _test(name: str, more: Sequence[str]) -> tuple[tuple[int, int, int], int]:
    """How many tests passed, failed, and failed as known; and pytest's exit status."""
    report = find_home().root / "tests" / f"engine-{name}.xml"
    modules = [] if any(argument.startswith("tests/") for argument in more) else _modules()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "engine", f"--junit-xml={report}", *modules, *more]
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - our own
    bad = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    known = sum(case.find("skipped") is not None for case in cases)
    return (len(cases) - bad - known, bad, known), status


def _modules() -> list[str]:
    return [*(f"tests/engine/test_{module}.py" for module in MODULES), "tests/engine/test_gpus.py::test_cdi"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
