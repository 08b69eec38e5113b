"""What the GPUs of an engine's machine are, asked of the driver itself: nvidia-smi, in a short sealed container.

nvidia-smi comes with the GPUs: the runtime, the hook or CDI puts it into the container.
"""

from __future__ import annotations

import re
from dataclasses import replace

from engine.containers.gpus import Given
from engine.containers.refusals import refused
from engine.daemon import Engine, run_tool
from engine.errors import EngineUnavailable
from engine.model import Json

#: Last, because it is the only one that may hold a comma; compute_cap is unknown to drivers before 510.
_FIELDS: tuple[str, ...] = ("driver_version", "memory.total", "uuid", "compute_cap", "name")
_OLDER: tuple[str, ...] = ("driver_version", "memory.total", "uuid", "name")
_SECONDS = 30
#: Exit codes of timeout(1): too late, not executable, not there.
_UNASKED = {
    124: f"nvidia-smi did not answer in {_SECONDS} seconds",
    126: "nvidia-smi cannot be executed",
    127: "the container got no nvidia-smi",
}
_UNKNOWN_FIELD = 2
_MAX_OUTPUT, _MAX_GPUS, _MAX_NAME = 64 << 10, 64, 100
_UUID = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z/-]{1,80}")
_VERSION = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,5}){0,3}")


def ask(engine: Engine, image: str, given: Given) -> Given:
    """The same with what was found: driver, and each GPU's model, UUID, memory in bytes and compute capability.

    Of a number of GPUs that was asked for, all that they can be picked from are found. Where nothing can be asked,
    ``unknown`` says why. EngineUnavailable when the engine does not give them, when they do not work, or when there are
    fewer than were asked for.
    """
    fields = _FIELDS
    code, said, complaint = _call(engine, image, given, fields)
    if code == _UNKNOWN_FIELD and "compute_cap" in said + complaint:
        fields = _OLDER
        code, said, complaint = _call(engine, image, given, fields)
    if code in _UNASKED:
        return replace(given, facts={"unknown": _UNASKED[code]})
    if code:
        why = next(iter((complaint or said).strip().splitlines()), f"exit code {code}")
        raise EngineUnavailable(
            f"The GPUs do not work: nvidia-smi says '{_plain(why).rstrip('.')[:200]}'.",
            "See what `nvidia-smi` says on the engine's own machine; reboot it after an update of the driver.",
        )
    facts = read(said, fields)
    there = len(facts.get("devices", ()))
    if there and given.asked.count > there:
        raise EngineUnavailable(
            f"{given.asked.count} GPUs were asked for, and the engine's machine gives {there}.",
            "Ask for fewer, or run on another machine.",
        )
    return replace(given, facts=facts)


def _call(engine: Engine, image: str, given: Given, fields: tuple[str, ...]) -> tuple[int, str, str]:
    from docker.types import LogConfig

    query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    bounded = LogConfig(type="json-file", config={"max-size": str(4 * _MAX_OUTPUT), "max-file": "1"})
    try:
        result = run_tool(
            engine,
            image,
            ["timeout", str(_SECONDS), *query],
            environment=given.environment(),
            timeout=3 * _SECONDS,
            settings={**given.settings(), "log_config": bounded},
        )
    except EngineUnavailable as error:
        raise refused(error.message) or error from error
    said, complaint = (text[:_MAX_OUTPUT].decode("utf-8", "replace") for text in (result.stdout, result.stderr))
    return result.exit_code, said, complaint


def read(text: str, fields: tuple[str, ...] = _FIELDS) -> Json:
    """nvidia-smi's lines as facts; what does not read as one is left out, and ``unknown`` says when nothing does."""
    driver, devices = "", []
    for line in text.splitlines()[:_MAX_GPUS]:
        values = [part.strip() for part in line.split(",", len(fields) - 1)]
        if len(values) != len(fields) or not _VERSION.fullmatch(values[0]):
            continue
        found = dict(zip(fields, values, strict=True))
        driver = driver or found["driver_version"]
        memory, capability = found["memory.total"], found.get("compute_cap", "")
        devices.append(
            {
                "name": _plain(found["name"])[:_MAX_NAME],
                "uuid": found["uuid"] if _UUID.fullmatch(found["uuid"]) else None,
                "memory": int(memory) << 20 if re.fullmatch(r"[0-9]{1,9}", memory) else None,
                "compute_capability": capability if re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", capability) else None,
            }
        )
    return {"driver": driver, "devices": devices} if devices else {"unknown": "nvidia-smi names no GPU"}


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
