"""The stages composed: the only place that knows more than one of them."""

from engine.pipeline.archiving import Archived, archive
from engine.pipeline.auditing import NAMES as AUDITED
from engine.pipeline.auditing import OF_RUNS as AUDITED_OF_RUNS
from engine.pipeline.auditing import Audit, audit_archive, audit_run
from engine.pipeline.basing import base_from
from engine.pipeline.diagnosing import diagnose
from engine.pipeline.differing import Diff, Row, compare, diff
from engine.pipeline.environment import (
    Wanted,
    base_build,
    base_export,
    base_import,
    base_list,
    build,
    flags,
    lock,
    rebuild_image,
)
from engine.pipeline.following import Stopped, attach, stop
from engine.pipeline.gpus import SeenGpus, look_at_gpus, told_gpus
from engine.pipeline.hosting import Checked, check_hosts
from engine.pipeline.importing import Imported, import_archive, read_archive
from engine.pipeline.jobs import Ended, Job, run_all
from engine.pipeline.keeping import (
    Shown,
    comment,
    delete,
    fsck,
    keys_adopt,
    keys_make,
    keys_trust,
    keys_trust_authority,
    label,
    look,
    purge,
)
from engine.pipeline.launching import Where
from engine.pipeline.places import pick
from engine.pipeline.pruning import Pruned, prune
from engine.pipeline.pulling import Pulled, pull
from engine.pipeline.pushing import Pushed, push
from engine.pipeline.reading import ended, find, logs, measures, page, runs
from engine.pipeline.retaining import Purged, Retained, archive_older, purge_archived
from engine.pipeline.sending import ensure_image, repository
from engine.pipeline.story import Request, rerun, run
from engine.pipeline.verifying import evidence_of, verify, verify_stored

__all__ = [
    "AUDITED",
    "AUDITED_OF_RUNS",
    "Archived",
    "Audit",
    "Checked",
    "Diff",
    "Ended",
    "Imported",
    "Job",
    "Pruned",
    "Pulled",
    "Purged",
    "Pushed",
    "Request",
    "Retained",
    "Row",
    "SeenGpus",
    "Shown",
    "Stopped",
    "Wanted",
    "Where",
    "archive",
    "archive_older",
    "attach",
    "audit_archive",
    "audit_run",
    "base_build",
    "base_export",
    "base_from",
    "base_import",
    "base_list",
    "build",
    "check_hosts",
    "comment",
    "compare",
    "delete",
    "diagnose",
    "diff",
    "ended",
    "ensure_image",
    "evidence_of",
    "find",
    "flags",
    "fsck",
    "import_archive",
    "keys_adopt",
    "keys_make",
    "keys_trust",
    "keys_trust_authority",
    "label",
    "lock",
    "logs",
    "look",
    "look_at_gpus",
    "measures",
    "page",
    "pick",
    "prune",
    "pull",
    "purge",
    "purge_archived",
    "push",
    "read_archive",
    "rebuild_image",
    "repository",
    "rerun",
    "run",
    "run_all",
    "runs",
    "stop",
    "told_gpus",
    "verify",
    "verify_stored",
]
