"""The program that executes a notebook inside the image; the host copies this package there as ``nbseal_harness``.

It is run as ``python3 -I -m nbseal_harness SPOOL`` by the image's own Python, so it imports nothing
of the rest of nbseal, only the standard library and what is locked for the harness (nbclient and
its dependencies), and its syntax stays within Python 3.9. Host and harness meet in the spool
directory alone, see docs/reference/events.md:

========================  ===========================================================
``request.json``          in: what to do (``request.Request``)
``notebook.ipynb``        in: the notebook, nbformat 4.5
``executed.ipynb``        out: the notebook with outputs, valid at every moment
``events.jsonl``          out: what happens, one JSON object a line (``events.EventLog``)
========================  ===========================================================
"""

#: Version of the request and of the events that this harness speaks; it understands the earlier ones.
#: 2: a kernel that holds things steady or is traced (``instrument``).
PROTOCOL = 2
