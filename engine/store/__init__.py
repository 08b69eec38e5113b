"""The home: source snapshots, inputs and runs by digest and id, and an index over them."""

from engine.store.directory import RunDirectory, open_run, read_log, read_source
from engine.store.index import Summary, damaged_runs, find_run, list_runs, load_record, unfinished
from engine.store.inputs import keep_input, keep_inputs, materialise
from engine.store.record import new_id, now, plain_flags, record_to_json
from engine.store.runs import adopt, begin_run, discard, publish, sweep, verify_run
from engine.store.source import checkout, find_project_root, folder_in, snapshot

__all__ = [
    "RunDirectory",
    "Summary",
    "adopt",
    "begin_run",
    "checkout",
    "damaged_runs",
    "discard",
    "find_project_root",
    "find_run",
    "folder_in",
    "keep_input",
    "keep_inputs",
    "list_runs",
    "load_record",
    "materialise",
    "new_id",
    "now",
    "open_run",
    "plain_flags",
    "publish",
    "read_log",
    "read_source",
    "record_to_json",
    "snapshot",
    "sweep",
    "unfinished",
    "verify_run",
]
