"""The home: source snapshots, inputs and runs by digest and id, and an index over them."""

from engine.store.blobs import blob_path
from engine.store.directory import RunDirectory, open_run, read_log, read_source, scalar_lines
from engine.store.fsck import fsck
from engine.store.histories import Comment, History
from engine.store.incoming import Arrival, is_known, looking, receiving, staged, take_in
from engine.store.index import (
    Summary,
    all_histories,
    damaged_runs,
    find_run,
    history_of,
    list_runs,
    load_record,
    unfinished,
)
from engine.store.inputs import keep_input, keep_inputs, materialise
from engine.store.irregular import restore_irregular
from engine.store.keeping import catch_up, comment, delete, find_deleted, label, purge
from engine.store.ledger import append as log
from engine.store.ledger import heal
from engine.store.ledger_files import Checkpoint, home_id, read_checkpoint
from engine.store.parts import parts
from engine.store.record import new_id, now, plain_flags, read_record, record_to_json
from engine.store.report import Finding, Report, counted
from engine.store.runs import MAX_EVENTS, adopt, begin_run, discard, publish, sweep, verify_run
from engine.store.seal import IRREGULAR, MANIFEST, SIGNATURE, read_irregular
from engine.store.sealing import (
    known_keys,
    logged_seal,
    read_seal,
    sealed_digests,
    sealed_files,
    time_of,
    verify_sealed,
)
from engine.store.source import checkout, find_project_root, folder_in, snapshot
from engine.store.vouching import Vouched, vouch

__all__ = [
    "IRREGULAR",
    "MANIFEST",
    "MAX_EVENTS",
    "SIGNATURE",
    "Arrival",
    "Checkpoint",
    "Comment",
    "Finding",
    "History",
    "Report",
    "RunDirectory",
    "Summary",
    "Vouched",
    "adopt",
    "all_histories",
    "begin_run",
    "blob_path",
    "catch_up",
    "checkout",
    "comment",
    "counted",
    "damaged_runs",
    "delete",
    "discard",
    "find_deleted",
    "find_project_root",
    "find_run",
    "folder_in",
    "fsck",
    "heal",
    "history_of",
    "home_id",
    "is_known",
    "keep_input",
    "keep_inputs",
    "known_keys",
    "label",
    "list_runs",
    "load_record",
    "log",
    "logged_seal",
    "looking",
    "materialise",
    "new_id",
    "now",
    "open_run",
    "parts",
    "plain_flags",
    "publish",
    "purge",
    "read_checkpoint",
    "read_irregular",
    "read_log",
    "read_record",
    "read_seal",
    "read_source",
    "receiving",
    "record_to_json",
    "restore_irregular",
    "scalar_lines",
    "sealed_digests",
    "sealed_files",
    "snapshot",
    "staged",
    "sweep",
    "take_in",
    "time_of",
    "unfinished",
    "verify_run",
    "verify_sealed",
    "vouch",
]
