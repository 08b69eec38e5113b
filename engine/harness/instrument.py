"""Starts the kernel of a run that holds something steady or is traced: ``python3 instrument.py -f FILE ...``.

It runs in the kernel's own process, with the user's environment, and imports nothing of ours: the harness names it
instead of ``-m ipykernel_launcher`` (see ``kernel``). NBSEAL_HOLD names what is held, separated by commas:

==============  ==========================================================================================
``clock``       the wall clock (images/steady.c, which is preloaded)
``seeds``       entropy, and with it every generator that nobody seeds (the same), and those of frameworks
``frameworks``  deterministic algorithms, where a framework has a switch for them
==============  ==========================================================================================

With NBSEAL_TRACE, where randomness, the clock and the network enter is written to trace.jsonl of the spool: one JSON
object for each kind of thing that a line does while a cell executes, with ``execution`` (that cell's execution count),
``defined`` (the count of the cell whose source holds the line, which another one may call), ``line`` (from 1) and

==============  ==========================================================================================
``clock``       true: the line reads the wall clock
``random``      the state that a generator was left in, or "entropy": the line draws random numbers
``network``     the address that the line asked for
``writes``      the path of a file that the line opened for writing
==============  ==========================================================================================
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_TRACE_FILE = Path("/run/nbseal/trace.jsonl")
_CELL_FILES = "/tmp/ipykernel_"  # noqa: S108 - as ipykernel names them
#: Seconds of tracing in one cell, after which it goes on without.
_PATIENCE = 3.0
_MAX_NOTES = 20000
#: This machine, as a notebook names it.
_HERE = ("", "localhost", "::1", "0.0.0.0", "nbseal")  # noqa: S104 - nothing is bound to it


def main() -> None:
    # ipykernel_launcher takes its own folder away in the same way: the notebook must not import from here.
    sys.path.pop(0)
    held = os.environ.get("NBSEAL_HOLD", "").split(",")
    traced = bool(os.environ.pop("NBSEAL_TRACE", ""))
    if not held[0]:
        os.environ.pop("LD_PRELOAD", None)
    library = ctypes.CDLL(None)
    tracer = Tracer(Meters(library)) if traced else None
    sys.meta_path.insert(0, Frameworks(held, tracer))

    from ipykernel.kernelapp import IPKernelApp  # type: ignore[import-not-found]

    _keep_messages_off_the_clock()
    application = IPKernelApp.instance()
    application.initialize()
    events = application.shell.events
    executions = itertools.count(1)

    def begin(info: Any) -> None:
        execution = next(executions)
        if execution == 1 and "seeds" in held:
            # What was drawn from it while the kernel started is not always the same.
            random.seed(0)
        library.nbseal_begin_cell(ctypes.c_long(execution))
        if tracer is not None:
            tracer.begin(execution)

    def end(result: Any) -> None:
        if tracer is not None:
            tracer.end()
        library.nbseal_end_cell()

    events.register("pre_run_cell", begin)
    events.register("post_run_cell", end)
    application.start()


def _keep_messages_off_the_clock() -> None:
    """Each message of the kernel has a date, which nobody is shown: taking it would move the steady clock."""
    from datetime import datetime, timezone

    from jupyter_client import session

    date = datetime(2025, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - not in Python 3.9
    if hasattr(session, "utcnow"):
        session.utcnow = lambda: date


# --- frameworks -----------------------------------------------------------------------------------


class Frameworks:
    """A finder (importlib.abc.MetaPathFinder) that has a word with some modules once they are imported."""

    def __init__(self, held: list[str], tracer: Tracer | None) -> None:
        self._after: dict[str, list[Callable[[Any], object]]] = {}
        if "seeds" in held:
            self._add("numpy.random", lambda numpy_random: numpy_random.seed(0))
            self._add("torch", lambda torch: torch.manual_seed(0))
            self._add("tensorflow", lambda tensorflow: tensorflow.random.set_seed(0))
        if "frameworks" in held:
            self._add("torch", _switch_torch)
        if tracer is not None:
            for name in ("numpy.random", "torch"):
                self._add(name, lambda module: tracer.forget())

    def _add(self, name: str, action: Callable[[Any], object]) -> None:
        self._after.setdefault(name, []).append(action)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module's own spec, whose loader calls us back; None for all others."""
        actions = self._after.pop(name, None)
        if actions is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            for action in actions:
                try:
                    action(module)
                except Exception as error:
                    print(f"nbseal: {name} could not be held: {error}", file=sys.__stderr__)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _switch_torch(torch: Any) -> None:
    # What has no deterministic form is left to run, and warns.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


# --- tracing --------------------------------------------------------------------------------------


class Meters:
    """Counts that move when a line reads the clock or draws random numbers."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._clock = ctypes.c_long.in_dll(library, "nbseal_clock_reads")
        self._entropy = ctypes.c_long.in_dll(library, "nbseal_entropy_reads")

    def clock(self) -> int:
        return self._clock.value

    def entropy(self) -> int:
        return self._entropy.value

    @staticmethod
    def generators() -> dict[str, object]:
        """The state of each global generator that is there, by its module's name, as a short text."""
        modules: Any = sys.modules
        states: dict[str, object] = {"random": hash(random.getstate())}
        mtrand = modules.get("numpy.random.mtrand")
        if hasattr(mtrand, "_rand"):
            state = mtrand._rand._bit_generator.state["state"]
            states["numpy"] = hash((state["key"].tobytes(), state["pos"])) if "key" in state else repr(state)
        torch = modules.get("torch")
        if hasattr(torch, "get_rng_state"):
            states["torch"] = hash(torch.get_rng_state().numpy().tobytes())
        return states


class Tracer:
    """Which lines of which cells move the meters: those of the main thread, and only lines of cells."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._execution = 0
        self._cells: dict[str, int] = {}  # file name of a cell's code -> its execution
        self._seen: set[Any] = set()
        self._notes: list[dict[str, Any]] = []
        self._line: tuple[int, int] | None = None  # of the cell that holds it, and its number
        self._spent = 0.0
        self._active = False
        self._main = threading.get_ident()
        # Opened now: what the notebook does to the file must not show in it.
        self._file = os.open(_TRACE_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sys.addaudithook(self._audit)

    def begin(self, execution: int) -> None:
        """Before a cell, with its execution count."""
        self._execution = execution
        self._line = None
        self._spent = 0.0
        self._active = True
        self._before = self._read()
        sys.settrace(self._call)

    def end(self) -> None:
        """After a cell."""
        if not self._active:
            return
        sys.settrace(None)
        self._settle()
        self._active = False
        data = "".join(json.dumps(note) + "\n" for note in self._notes).encode()
        self._notes = []
        with suppress(OSError):  # the notebook may have closed it
            while data:
                data = data[os.write(self._file, data) :]

    def forget(self) -> None:
        """Begin anew in the middle of a line: a generator was just imported, and nothing was drawn from it."""
        if self._active:
            self._before = self._read()

    def _call(self, frame: Any, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_CELL_FILES) and not name.startswith("<ipython-input"):
            return None
        if frame.f_code.co_name == "<module>":  # cells with the same source share a name
            self._cells[name] = self._execution
        return self._step if name in self._cells else None

    def _step(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "line":
            self._settle()
            self._line = (self._cells[frame.f_code.co_filename], frame.f_lineno)
        elif event == "return":
            self._settle()
        return self._step

    def _read(self) -> tuple[int, int, dict[str, object], int]:
        return (self._meters.clock(), self._meters.entropy(), self._meters.generators(), len(sys.modules))

    def _settle(self) -> None:
        """Put down to the last line what the meters have moved since."""
        began = time.perf_counter()
        before, self._before = self._before, self._read()
        if self._line is not None:
            clock, entropy, states, modules = self._before
            if clock != before[0]:
                self._note("clock", True)
            for name, state in states.items():
                if name in before[2] and before[2][name] != state:
                    self._note("random", f"{name} {state}")
            # An import may draw for purposes of its own, or for a generator: that counts when it is used.
            if entropy != before[1] and modules == before[3]:
                self._note("random", "entropy")
        self._spent += time.perf_counter() - began
        if self._spent > _PATIENCE:
            sys.settrace(None)
            self._line = None

    def _audit(self, event: str, arguments: Any) -> None:
        if not self._active or self._line is None or threading.get_ident() != self._main:
            return
        if event == "socket.connect":
            self._asked(arguments[1])
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            self._asked(arguments)
        elif event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            self._note("writes", str(Path.cwd() / arguments[0])[:1000])
        elif event == "os.rename" and isinstance(arguments[1], str):
            self._note("writes", str(Path.cwd() / arguments[1])[:1000])

    def _asked(self, address: Any) -> None:
        """Of addresses, those of other machines: (host, port, ...), and no path of a local socket."""
        host = address[0] if isinstance(address, tuple) and address else None
        if isinstance(host, bytes):
            host = host.decode("ascii", "replace")
        if isinstance(host, str) and host not in _HERE and not host.startswith("127."):
            self._note("network", host[:200])

    def _note(self, kind: str, value: object) -> None:
        if self._line is None:
            return
        key = (self._execution, *self._line, kind, value if kind == "writes" else None)
        if key in self._seen or len(self._seen) >= _MAX_NOTES:
            return
        self._seen.add(key)
        defined, line = self._line
        self._notes.append({"execution": self._execution, "defined": defined, "line": line, kind: value})


if __name__ == "__main__":
    main()
