"""The execution itself: cell after cell, until the notebook ends, fails or is stopped."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from nbclient.exceptions import CellExecutionError

from .client import CellClient, connect, finish_streams
from .document import Document
from .events import EventLog, brief_error, brief_output
from .guard import Guard, KernelEnded
from .kernel import Kernel
from .request import Request
from .stop import StopRequest

#: Seconds for a kernel that was asked to shut down.
_SHUTDOWN = 15.0


@dataclass(frozen=True)
class Ending:
    """How an execution ended, as in the event "finished"."""

    status: str  # "completed", "failed" or "interrupted"
    reason: str = ""
    limit: str = ""  # "timeout", "cell_timeout" or "memory" when one was hit


async def execute(request: Request, kernel: Kernel, document: Document, events: EventLog, stop: StopRequest) -> Ending:
    """Execute the document's code cells in order, then shut the kernel down.

    The document is saved after every cell; events are written as things happen. Nothing that a
    notebook does raises: the Ending says what happened.
    """
    try:
        client, language = await connect(kernel)
    except KernelEnded:
        if stop.requested:
            return Ending("interrupted", "The run was interrupted before the first cell.")
        if kernel.process.poll() is None:
            kernel.kill()
            return Ending("failed", "The kernel did not answer; log.txt may say why.")
        limit = "memory" if kernel.oom_killed else ""
        return Ending("failed", f"The kernel did not start ({kernel.describe_death()}); log.txt may say why.", limit)
    document.notebook.metadata["language_info"] = language
    guard = Guard(kernel, stop, request.timeout, request.cell_timeout)
    execution = _Execution(request, kernel, document, events, guard)
    try:
        return await execution.run(client)
    finally:
        await _shut_down(kernel, client)


class _Execution:
    def __init__(self, request: Request, kernel: Kernel, document: Document, events: EventLog, guard: Guard) -> None:
        self._request = request
        self._kernel = kernel
        self._document = document
        self._events = events
        self._guard = guard
        self._reply: dict[str, Any] = {}

    async def run(self, connection: Any) -> Ending:
        client = CellClient(
            self._document.notebook,
            self._kernel,
            connection,
            watch=self._guard.watch,
            on_output=self._on_output,
            on_change=self._document.changed,
            on_cell_executed=self._on_cell_executed,
        )
        ending = None
        for index, cell in enumerate(self._document.notebook.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            if client.skip_cells_with_tag in _tags(cell):
                self._events.write("cell_done", cell=index, status="skipped", duration=0.0)
                continue
            ending = await self._cell(client, index) if self._guard.may_go_on() else self._stopped(index)
            if ending is not None:
                break
        client.set_widgets_metadata()
        return ending or Ending("completed")

    async def _cell(self, client: CellClient, index: int) -> Ending | None:
        """Execute one cell; the Ending when the notebook ends with it."""
        cell = self._document.notebook.cells[index]
        self._events.write("cell_started", cell=index)
        began = time.monotonic()
        self._reply = {}
        saving = asyncio.ensure_future(self._save_now_and_then(index))
        try:
            await client.async_execute_cell(cell, index, execution_count=client.code_cells_executed + 1)
            ending = self._exit_by_payload(index)
        except CellExecutionError:
            ending = self._stopped(index) if self._guard.cause else self._failed(index)
        except KernelEnded:
            ending = self._stopped(index) if self._guard.cause else self._died(index)
        finally:
            saving.cancel()
            finish_streams(cell)
            self._document.changed(index)
            self._document.save()
        if self._guard.cause:  # the cell may have caught its KeyboardInterrupt
            ending = self._stopped(index)
        status = "ok" if ending is None or ending.status == "completed" else "error"
        self._events.write("cell_done", cell=index, status=status, duration=round(time.monotonic() - began, 3))
        return ending

    async def _save_now_and_then(self, index: int) -> None:
        while True:
            await asyncio.sleep(1)
            self._document.save_if_due(index)

    def _on_output(self, index: int, output: Any) -> None:
        self._events.write("output", cell=index, output=brief_output(output))

    def _on_cell_executed(self, cell: Any, cell_index: int, execute_reply: dict[str, Any]) -> None:
        self._reply = execute_reply["content"]
        finish_streams(cell)  # nbclient is about to quote them, if the cell failed

    def _exit_by_payload(self, index: int) -> Ending | None:
        """``exit()`` and ``quit()``, which IPython defines itself: no exception, but a payload of the reply."""
        for payload in self._reply.get("payload", ()):
            if payload.get("source") == "ask_exit":
                # What a user means as an exit code is IPython's keep_kernel.
                return self._exit(index, payload.get("keepkernel"))
        return None

    def _failed(self, index: int) -> Ending:
        """A cell raised and its tags do not allow that. ``sys.exit`` is taken as papermill takes it."""
        error = brief_error(self._reply)
        if error["ename"] == "SystemExit":
            ending = self._exit(index, error["evalue"])
            if ending.status == "completed":
                return ending
        self._events.write(
            "error", cell=index, name=error["ename"], value=error["evalue"], traceback=error["traceback"]
        )
        first_line = error["evalue"].strip().partition("\n")[0][:500]
        reason = f"Cell {index + 1} raised {error['ename']}{': ' if first_line else ''}{first_line}"
        if self._kernel.oom_killed:
            # A process that the kernel had started was the victim, and the cell noticed.
            memory = f"a process that it had started was killed: out of memory, {self._kernel.memory_limit}"
            return Ending("failed", f"{reason} ({memory})", "memory")
        return Ending("failed", reason)

    def _exit(self, index: int, code: Any) -> Ending:
        """The notebook ends here, by its own decision: completed with 0 or no code, else failed."""
        if isinstance(code, bool) or code in (None, 0, "", "0", "None"):
            return Ending("completed", f"Cell {index + 1} ended the notebook.")
        return Ending("failed", f"Cell {index + 1} ended the notebook with exit code {code}.")

    def _died(self, index: int) -> Ending:
        limit = "memory" if self._kernel.oom_killed else ""
        return Ending("failed", f"The kernel died in cell {index + 1} ({self._kernel.describe_death()}).", limit)

    def _stopped(self, index: int) -> Ending:
        """The guard let the cell not start, or stopped it."""
        cause = self._guard.cause
        if cause == "interrupt":
            return Ending("interrupted", f"The run was interrupted in cell {index + 1}.")
        if cause == "cell_timeout":
            seconds = self._request.cell_timeout
            return Ending("failed", f"Cell {index + 1} took longer than {seconds:g} seconds.", cause)
        seconds = self._request.timeout
        return Ending("failed", f"The notebook took longer than {seconds:g} seconds, in cell {index + 1}.", cause)


def _tags(cell: Any) -> Any:
    return cell.metadata.get("tags", ())


async def _shut_down(kernel: Kernel, client: Any) -> None:
    """Have the kernel end in order: exit handlers run, open files are written."""
    if kernel.process.poll() is None:
        # On the shell channel, although the control channel is the usual one: there, ipykernel 7 handles it in
        # another thread while the main thread already takes output down, and now and then the two wait 10 to 20
        # seconds for each other.
        client.shell_channel.send(client.session.msg("shutdown_request", {"restart": False}))
        await asyncio.wait({kernel.died}, timeout=_SHUTDOWN)
    if not kernel.died.done():
        kernel.kill()
        await asyncio.wait({kernel.died})
