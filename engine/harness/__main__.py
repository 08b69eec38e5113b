"""``python3 -I -m nbseal_harness SPOOL``: execute the notebook of a spool directory.

Exit codes: 0 completed, 1 failed, 130 interrupted, 70 the harness itself could not do its work
(sysexits.h EX_SOFTWARE); then standard error says why and no "finished" event is written.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from .events import EventLog
from .kernel import Kernel, kernel_python
from .request import read_request
from .sampler import Sampler
from .stop import StopRequest

_EXIT_CODES = {"completed": 0, "failed": 1, "interrupted": 130}
_EXIT_BROKEN = 70


def main(spool: Path) -> int:
    """Execute the spool's notebook; the exit code."""
    stop = StopRequest()
    events = EventLog(spool / "events.jsonl")
    request = read_request(spool / "request.json")
    request.folder.mkdir(parents=True, exist_ok=True)
    # Before the kernel, whose process id is always the same.
    sampler = Sampler(kernel_python(), events) if request.gpus else None
    # The kernel starts while we import what talks to it: both take some 0.3 s.
    kernel = Kernel(request.folder, request.memory)
    try:
        import asyncio

        from . import PROTOCOL
        from .document import Document
        from .run import execute

        document = Document(spool / "notebook.ipynb", spool / "executed.ipynb")
        document.save()
        events.write("started", protocol=PROTOCOL, cells=len(document.notebook.cells))
        ending = asyncio.run(execute(request, kernel, document, events, stop))
        document.save(durable=True)
    finally:
        kernel.kill()
    if sampler is not None:
        sampler.stop()
    events.write("finished", status=ending.status, reason=ending.reason, limit=ending.limit)
    events.close()
    return _EXIT_CODES[ending.status]


if __name__ == "__main__":
    try:
        code = main(Path(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        code = _EXIT_BROKEN
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written. Taking ZeroMQ down in order would only take time.
    os._exit(code)
