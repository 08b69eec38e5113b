"""A run directory on this machine kept like its folders on another one: while the run goes on, and at its end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress

from engine.containers.launch import Folders
from engine.containers.remote.courier import Courier
from engine.containers.remote.gather import MAX_FILES, Gatherer, Listing
from engine.containers.remote.session import Frame, Session
from engine.daemon import Engine
from engine.errors import Detached, NbsealError
from engine.link import Link
from engine.model import Json, Limits

#: Events beyond this are not read by anybody.
_MAX_EVENTS = 2 << 30
_MAX_NOTEBOOK = 1 << 30
_NAMED = 5  # inputs in one sentence
_TOO_MUCH = (
    f"The run left more than {MAX_FILES:,} files, more bytes than may be fetched, or paths too long for here; "
    "its files were not fetched."
)


class Mirror:
    """Talks to the courier in a thread of its own, on a new link when one has broken."""

    def __init__(self, link: Link, courier: Courier, folders: Folders, inputs: Sequence[tuple[str, str]]) -> None:
        """``inputs`` are targets, each with its digest."""
        self._link, self._courier, self._folders, self._inputs = link, courier, folders, tuple(inputs)
        self._thread = threading.Thread(target=self._run, daemon=True, name="nbseal-mirror")
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._finishing, self._stopped = threading.Event(), threading.Event()
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._broken = False
        self._version = self._coming = ""  # of the notebook: that is here, that is arriving
        self._came = 0  # bytes of it
        self._error: BaseException | None = None
        self._problem = ""
        self.used = 0
        self.processor = ""

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> str:
        """Once the container has ended: fetch everything. A sentence when that is too much.

        Detached when the host cannot be reached any more; other errors are those of writing here.
        """
        with self._lock:
            self._finishing.set()
            if self._session is not None:
                self._session.post("tell", **self._all())
        self._thread.join()
        if isinstance(self._error, (NbsealError, OSError)):
            raise Detached(
                f"The results of the run stay on {self._link.name} for now: {self._error}",
                "`nbseal attach` fetches them.",
            ) from self._error
        if self._error is not None:
            raise self._error
        return self._problem

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        with self._lock:
            if self._session is not None:
                self._session.hang_up()

    def _note(self, why: str) -> None:
        """The link broke."""
        if not self._broken:
            self._broken = True
            self._news.put(f"The link to {self._link.name} broke: {why} The run goes on there; trying again.")

    def news(self) -> list[str]:
        """What was noted since this was asked last."""
        news = []
        with suppress(queue.Empty):
            while True:
                news.append(self._news.get_nowait())
        return news

    def _run(self) -> None:
        try:
            self._link.attempt(self._talk, on_break=self._note)
        except BaseException as error:
            self._error = error

    def _talk(self, engine: Engine) -> None:
        """Follow, then fetch; after a break, from where it was."""
        if self._stopped.is_set() or not self._courier.has_luggage(engine):
            return
        self._courier.start(engine)
        with Session(engine, self._courier.name) as session:
            with self._lock:
                self._session = session
                if self._finishing.is_set():
                    session.ask("tell", **self._all())
                else:
                    inputs = [target for target, _ in self._inputs]
                    session.ask("follow", events=self._events_here(), version=self._version, inputs=inputs)
            try:
                self._listen(session)
            except OSError:
                if not self._stopped.is_set():
                    raise
            finally:
                with self._lock:
                    self._session = None

    def _all(self) -> Json:
        return {"inputs": dict(self._inputs), "files": MAX_FILES, "size": Limits.work_tree}

    def _listen(self, session: Session) -> None:
        self._coming, listing = "", Listing(self._folders.project, Limits.work_tree)
        while not self._stopped.is_set():
            frame = session.frame()
            if self._broken:
                self._broken = False
                self._news.put(f"The link to {self._link.name} is back.")
            if frame.kind == "events":
                self._append(frame)
            elif frame.kind == "usage":
                self.used = frame.number("bytes")
            elif frame.kind == "machine":
                self.processor = "".join(filter(str.isprintable, frame.text("processor")))
            elif frame.kind == "notebook":
                self._take_notebook(frame)
            elif frame.kind == "much" or (frame.kind == "entries" and not listing.add(frame.data)):
                self._problem = _TOO_MUCH
                return
            elif frame.kind == "listed":
                Gatherer(self._folders, [target for target, _ in self._inputs]).gather(session, listing.entries)
                self._problem = self._replaced(frame)
                return

    def _replaced(self, frame: Frame) -> str:
        """A sentence when inputs are not what was laid there, which cannot happen to those that are mounted."""
        told = frame.fields.get("replaced")
        names = [target for target, _ in self._inputs if isinstance(told, list) and target in told]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"Inputs were replaced or removed while it ran: {', '.join(names[:_NAMED])}{more}." if names else ""

    def _events_here(self) -> int:
        try:
            return (self._folders.spool / "events.jsonl").stat().st_size
        except FileNotFoundError:
            return 0

    def _append(self, frame: Frame) -> None:
        offset = frame.number("offset")
        if offset != self._events_here() or offset > _MAX_EVENTS:
            return
        with (self._folders.spool / "events.jsonl").open("ab") as file:
            file.write(frame.data)

    def _take_notebook(self, frame: Frame) -> None:
        """Pieces of one version; when the last one has come, it is the notebook here."""
        path = self._folders.spool / "executed.ipynb"
        temporary = path.with_name(f".{path.name}.new")
        if frame.text("version") != self._coming:
            self._coming, self._came = frame.text("version"), 0
            temporary.unlink(missing_ok=True)
        self._came += len(frame.data)
        if self._came > _MAX_NOTEBOOK:
            temporary.unlink(missing_ok=True)
            return
        with temporary.open("ab") as file:
            file.write(frame.data)
        if frame.number("left") == 0:
            temporary.replace(path)
            self._version, self._coming = self._coming, ""
