"""nbclient's way of executing a cell, with a shell channel that cannot hang and output that is the same each time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from queue import Empty
from typing import Any

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient
from nbclient.client import NotebookClient
from nbclient.exceptions import CellExecutionComplete
from nbformat import NotebookNode

from .guard import KernelEnded
from .kernel import Kernel

#: Seconds that a wait on the shell channel may last. Its socket is written to as well (ipywidgets' Output is answered
#: there), and then pyzmq may miss that something has arrived: an endless wait hangs (nbclient issue 312).
_SLICE = 0.1
#: Seconds for a kernel that listens to answer, before it is asked again.
_ANSWER = 0.5
#: Seconds for the kernel to listen and answer; a cold disk and a busy machine included.
_START_TIMEOUT = 120.0
#: Seconds without any output after which the end of a cell's output is taken for lost, once the cell itself is done.
_SILENCE = 30.0
#: Seconds in which what a dead kernel had already sent arrives.
_DRAIN = 0.2


async def connect(kernel: Kernel) -> tuple[AsyncKernelClient, Any]:
    """A client of the kernel, ready to execute, and the kernel's ``language_info``.

    Raises KernelEnded when the kernel dies or does not answer in time.
    """
    deadline = time.monotonic() + _START_TIMEOUT
    # Connecting before the kernel listens costs ZeroMQ's reconnect interval, 100 ms.
    while not all(socket.exists() for socket in kernel.sockets):
        await _pause(kernel, deadline)
    client = AsyncKernelClient()
    # Output is never dropped because we are slower than the kernel: the queue has no bound but memory.
    client.context.setsockopt(zmq.RCVHWM, 0)
    client.load_connection_info(dict(kernel.connection))  # type: ignore[arg-type]
    client.start_channels(stdin=False, hb=False)
    while True:
        client.kernel_info()
        try:
            reply = await client.get_shell_msg(timeout=_ANSWER)
            # Its status on the other channel proves that the subscription has reached the kernel.
            await client.get_iopub_msg(timeout=_ANSWER)
            return client, reply["content"].get("language_info", {})
        except Empty:
            await _pause(kernel, deadline)


async def _pause(kernel: Kernel, deadline: float) -> None:
    await asyncio.wait({kernel.died}, timeout=0.005)
    if kernel.died.done() or time.monotonic() > deadline:
        raise KernelEnded


class CellClient(NotebookClient):
    """Executes the cells of a notebook one by one (``async_execute_cell``) on a kernel that it does not own.

    ``watch`` waits for the reply to a cell and may raise (see ``Guard.watch``); ``on_output`` is told
    the cell and each output as it comes; ``on_change`` the cells whose outputs are not the same any more.
    """

    def __init__(
        self,
        notebook: NotebookNode,
        kernel: Kernel,
        client: AsyncKernelClient,
        *,
        watch: Callable[[asyncio.Future[Any]], Awaitable[None]],
        on_output: Callable[[int, Any], None],
        on_change: Callable[[int], None],
        **hooks: Any,
    ) -> None:
        # No times in the notebook: two runs that compute the same are to be the same.
        super().__init__(notebook, record_timing=False, **hooks)
        self.kc = self._client = client
        self._kernel = kernel
        self._watch = watch
        self._on_output = on_output
        self._on_change = on_change
        self._last_message = 0.0

    async def _async_poll_for_reply(
        self,
        msg_id: str,
        cell: NotebookNode,
        timeout: int | None,
        task_poll_output_msg: asyncio.Future[Any],
        task_poll_kernel_alive: asyncio.Future[Any],
    ) -> dict[str, Any]:
        """The reply to a cell, after all of its output has come."""
        task_poll_kernel_alive.cancel()  # the guard knows at once when the kernel dies, this would ask every second
        reply = asyncio.ensure_future(self._reply_to(msg_id))
        try:
            await self._watch(reply)
        except KernelEnded:
            await self._finish_output(task_poll_output_msg, _DRAIN)
            raise
        finally:
            reply.cancel()
        await self._finish_output(task_poll_output_msg, _SILENCE)
        return reply.result()

    async def _reply_to(self, msg_id: str) -> dict[str, Any]:
        while True:
            try:
                message: dict[str, Any] = await self._client.get_shell_msg(timeout=_SLICE)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                return message

    async def _finish_output(self, output: asyncio.Future[Any], silence: float) -> None:
        """Wait for the end of a cell's output, as long as it keeps coming."""
        self._last_message = time.monotonic()
        while not output.done():
            dead = self._kernel.died.done()
            left = self._last_message + (_DRAIN if dead else silence) - time.monotonic()
            if left <= 0:
                if not dead:
                    _complain("the end of a cell's output did not arrive")
                break
            await asyncio.wait({output}, timeout=min(left, _SLICE))
        if output.done():
            output.result()

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """As nbclient, but a message that it cannot digest costs that message, not the run."""
        self._last_message = time.monotonic()
        self._on_change(cell_index)
        try:
            return super().process_message(msg, cell, cell_index)
        except CellExecutionComplete:
            raise
        except Exception as error:
            _complain(f"a message of type {msg.get('msg_type')!r} was left out: {type(error).__name__}: {error}")
            return None

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Append an output, and tell of it; stream outputs are joined to those before."""
        output = super().output(outs, msg, display_id, cell_index)
        if output is not None:
            self._on_output(cell_index, output)
            if output.output_type == "stream":
                _join_stream(outs)
        return output

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        super()._update_display_id(display_id, msg)
        for index in self._display_id_map.get(display_id, {}):
            self._on_change(index)


def _join_stream(outputs: list[NotebookNode]) -> None:
    """Join the last output, a stream, with those streams that no other output separates from it.

    How a kernel cuts its streams into messages, and which of stdout and stderr comes first, depends
    on time; before any other output it sends all that is pending. So between two other outputs
    there is one stdout and then one stderr, and that is the same in each run. The text is a list of
    pieces until ``finish_streams``: joining strings again and again takes quadratic time.
    """
    last = outputs.pop()
    position = len(outputs)
    while position and outputs[position - 1].output_type == "stream":
        position -= 1
        if outputs[position].name == last.name:
            outputs[position].text.append(last.text)
            return
    last.text = [last.text]
    outputs.insert(position if last.name == "stdout" else len(outputs), last)


def finish_streams(cell: NotebookNode) -> None:
    """Make strings of the pieces of the cell's streams."""
    for output in cell.outputs:
        if output.output_type == "stream" and isinstance(output.text, list):
            output.text = "".join(output.text)


def _complain(text: str) -> None:
    print(f"nbseal: {text}", file=sys.stderr, flush=True)
