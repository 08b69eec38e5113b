"""ro-crate-metadata.json: RO-Crate 1.1 as a Process Run Crate 0.5 and, of one run, a Workflow Run Crate 0.5.

Written here and not with the ``rocrate`` package, which copies the files that it describes.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from engine.archives import layout
from engine.archives.contents import ArchivedRun, Contents, ended
from engine.digests import bare
from engine.model import Json, Record

_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
_PROCESS = ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate")
_WORKFLOW = (
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate"),
)
_SCHEMA = "http://schema.org"
#: Outputs of one run that are described one by one; the folder stands for the others.
_MOST = 1000
_FILES = {
    "original.ipynb": "the user's file",
    "executed.ipynb": "the notebook with its outputs",
    "run.json": "the record",
    "requirements.lock": "every distribution with its digest",
    "source.json": "the tree of the source snapshot",
    "inputs.json": "the declared inputs",
    "outputs.json": "the files that the run wrote, changed or deleted",
    "scalars.jsonl": "the values that the cells printed",
    "events.jsonl": "what happened, in order",
    "log.txt": "what the container itself printed",
    layout.MANIFEST: "the seal",
}


def crate(contents: Contents, present: Sequence[str]) -> bytes:
    """The document; ``present`` are the folders of the payload beside runs/."""
    workflow = len(contents.runs) == 1
    profiles = (_PROCESS, *(_WORKFLOW if workflow else ()))
    folders = [_folder(f"{name}/") for name in present]
    runs = [list(_run(run)) for run in contents.runs]
    images = [_image(digest) for digest in contents.images]
    parts = [*folders, *(_file(name, what) for name, what in _TOP), *(entities[0] for entities in runs)]
    notebooks = [_notebook_id(run) for run in contents.runs]
    pages = [layout.page(run.record.id) for run in contents.runs]
    root: Json = {
        "@id": "./",
        "@type": "Dataset",
        "name": contents.name,
        "description": f"{_count(len(contents.runs))} of notebooks, executed in sealed containers by nbseal",
        "datePublished": contents.day,
        "license": "The archived files are under the terms of their authors; none are granted here.",
        "conformsTo": [_ref(identity) for identity, _ in profiles],
        "hasPart": _refs([*parts, *map(_ref, [*notebooks, *pages])]),
        "mentions": _refs(_ref(_action_id(run)) for run in contents.runs),
    }
    if workflow:
        root["mainEntity"] = _ref(notebooks[0])
    descriptor = {
        "@id": layout.CRATE,
        "@type": "CreativeWork",
        "about": _ref("./"),
        "conformsTo": [_ref("https://w3id.org/ro/crate/1.1"), *([_ref(_WORKFLOW[1][0])] if workflow else [])],
    }
    named = [
        {"@id": identity, "@type": "CreativeWork", "name": name, "version": identity.rpartition("/")[2]}
        for identity, name in profiles
    ]
    graph = {
        str(entity["@id"]): entity
        for entity in (descriptor, root, *named, _PYTHON, *parts, *images, *(item for run in runs for item in run))
    }
    document = {"@context": _CONTEXT, "@graph": list(graph.values())}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


_TOP = ((layout.README, "what this is, for people"), (layout.CONTENTS, "what is in the archive"))
_PYTHON: Json = {
    "@id": "https://www.python.org/",
    "@type": "ComputerLanguage",
    "name": "Python",
    "url": {"@id": "https://www.python.org/"},
}


def _run(run: ArchivedRun) -> Iterator[Json]:
    """The run's folder first, then all else that is said of it."""
    record, folder = run.record, layout.run_folder(run.record.id)
    files = [_file(f"{folder}/{name}", what) for name, what in _FILES.items() if name in {*run.files, layout.MANIFEST}]
    page = _file(layout.page(record.id), "the executed notebook as a page")
    flags = list(_properties(record, "flag", ((flag.name, flag.literal) for flag in record.flags)))
    variables = dict(record.spec.get("environment", {}))
    environment = list(_properties(record, "variable", sorted(variables.items())))
    results = list(_outputs(run))
    parameters = [
        {
            "@id": f"#parameter-{record.id}-{quote(flag.name)}",
            "@type": "FormalParameter",
            "additionalType": _TYPES.get(flag.type, "Text"),
            "name": flag.name,
        }
        for flag in record.flags
    ]
    for value, parameter in zip(flags, parameters, strict=True):
        value["exampleOfWork"] = _ref(str(parameter["@id"]))
    notebook = {
        **_file(f"{folder}/notebook.ipynb", record.notebook),
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "programmingLanguage": _ref(str(_PYTHON["@id"])),
        "input": _refs(parameters),
    }
    project = f"{folder}/{layout.PROJECT_TAR}" if run.packed else f"{folder}/{layout.PROJECT}/"
    work = _file(project, "source and outputs") if run.packed else _folder(project, "source and outputs")
    inputs = [
        {
            "@id": f"#input-{record.id}-{number}",
            "@type": "PropertyValue",
            "name": item.target,
            "value": item.digest,
        }
        for number, item in enumerate(record.inputs)
    ]
    held = any(path.startswith(f"{layout.PROJECT}/") for path in run.files)
    parts = [*files, *([work] if held else []), *results]
    yield {**_folder(f"{folder}/", f"run {record.id}"), "hasPart": _refs([*parts, notebook])}
    yield from (notebook, page, *parts, *flags, *parameters, *environment, *inputs)
    executed = [item for item in files if str(item["@id"]).endswith("/executed.ipynb")]
    action: Json = {
        "@id": _action_id(run),
        "@type": "CreateAction",
        "name": f"Run {record.id} of {record.notebook}",
        "description": f"One execution in a sealed container; its status is '{record.status}', its hash {record.hash}.",
        "instrument": _ref(str(notebook["@id"])),
        "endTime": _time(ended(record)),
        "object": _refs([*flags, *inputs]),
        "result": _refs([*executed, page, *results]),
        "actionStatus": f"{_SCHEMA}/{'Completed' if record.status == 'completed' else 'Failed'}ActionStatus",
        "containerImage": _ref(_image_id(bare(record.image))),
        "environment": _refs(environment),
    }
    if record.outcome is not None and record.outcome.started:
        action["startTime"] = _time(record.outcome.started)
    if record.status != "completed" and record.outcome is not None and record.outcome.reason:
        action["error"] = record.outcome.reason
    yield action


_TYPES = {"int": "Integer", "float": "Float", "bool": "Boolean", "str": "Text"}


def _outputs(run: ArchivedRun) -> Iterator[Json]:
    if run.packed:
        return
    folder = f"{layout.run_folder(run.record.id)}/{layout.PROJECT}"
    there = [item for item in run.record.outputs if f"{layout.PROJECT}/{item.path}" in run.files]
    for item in there[:_MOST]:
        yield {
            **_file(f"{folder}/{item.path}", item.path),
            "contentSize": str(item.size),
            "encodingFormat": item.media_type,
            "sha256": bare(item.sha256),
        }


def _properties(record: Record, kind: str, values: Iterable[tuple[str, str]]) -> Iterator[Json]:
    for name, value in values:
        identity = f"#{kind}-{record.id}-{quote(name)}"
        yield {"@id": identity, "@type": "PropertyValue", "name": name, "value": str(value)}


def _image(digest: str) -> Json:
    return {
        "@id": _image_id(digest),
        "@type": "ContainerImage",
        "additionalType": _ref("https://w3id.org/ro/terms/workflow-run#DockerImage"),
        "name": "nbseal/image",
        "tag": digest[:12],
        "sha256": digest,
    }


def _image_id(digest: str) -> str:
    return f"#image-{digest}"


def _action_id(run: ArchivedRun) -> str:
    return f"#run-{run.record.id}"


def _notebook_id(run: ArchivedRun) -> str:
    return f"{layout.run_folder(run.record.id)}/notebook.ipynb"


def _file(path: str, name: str) -> Json:
    kind = "application/x-ipynb+json" if path.endswith(".ipynb") else mimetypes.guess_type(path, strict=True)[0]
    return {"@id": quote(path), "@type": "File", "name": name, "encodingFormat": kind or "application/octet-stream"}


def _folder(path: str, name: str = "") -> Json:
    return {"@id": quote(path), "@type": "Dataset", "name": name or path}


def _ref(identity: str) -> Json:
    return {"@id": identity}


def _refs(entities: Iterable[Json]) -> Json | list[Json]:
    """A reference, or a list of them: the specification asks for no list of one."""
    found = [_ref(str(entity["@id"])) for entity in entities]
    return found[0] if len(found) == 1 else found


def _time(text: str) -> str:
    """As the profile asks for it: a numeric offset."""
    return text.replace("Z", "+00:00")


def _count(number: int) -> str:
    return f"{number} run{'' if number == 1 else 's'}"
