"""GPUs: what was asked for, and which of three ways an engine has to give it.

==================  =================================================================================
``cdi``             the engine lists devices by the Container Device Interface: nvidia.com/gpu=0
``runtime``         the engine has NVIDIA's runtime, which reads environment variables
``device-requests`` the engine has a hook of NVIDIA's, or none: only the start of a container tells
==================  =================================================================================

What is asked for is part of the spec, the way and what is found are not (``Given.facts``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.errors import BadInput, EngineUnavailable
from engine.model import Json

Way = Literal["cdi", "runtime", "device-requests", "none"]

RUNTIME = "nvidia"
#: CDI's name for NVIDIA's GPUs, before the device's own.
KIND = "nvidia.com/gpu"
#: What of the driver a container gets: libcuda, and nvidia-smi with libnvidia-ml.
_CAPABILITIES = ("compute", "utility")
#: More than any machine has.
_MOST = 64
_UUID = re.compile(r"(GPU|MIG)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: The first Docker that lists the devices it knows by CDI; those before it, from 25, only say where they look.
_LISTS = (28, 2)


@dataclass(frozen=True)
class Asked:
    """``ids`` as indices or UUIDs, else ``count``, else all that there are. Its text is what the spec holds."""

    count: int = 0
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join(self.ids) or (str(self.count) if self.count else "all")


@dataclass(frozen=True)
class Given:
    """GPUs as an engine gives them to a container; ``devices`` are CDI's names. ``facts`` are for the record.

    Where a number of them is asked for, a container gets all, until ``pick`` says which ones.
    """

    asked: Asked
    way: Way
    devices: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What NVIDIA's runtime reads. It is no part of the spec, and the harness keeps it from the notebook."""
        if self.way != "runtime":
            return {}
        return {
            "NVIDIA_VISIBLE_DEVICES": ",".join(self.asked.ids) or "all",
            "NVIDIA_DRIVER_CAPABILITIES": ",".join(_CAPABILITIES),
        }

    def settings(self) -> dict[str, Any]:
        """What the host config of a container gets beside what seals it."""
        from docker.types import DeviceRequest

        if self.way == "runtime":
            return {"runtime": RUNTIME}
        if self.way == "cdi":
            return {"device_requests": [DeviceRequest(driver="cdi", device_ids=list(self.devices))]}
        if self.way == "none":
            return {}
        if self.asked.ids:
            wanted = DeviceRequest(device_ids=list(self.asked.ids), capabilities=[["gpu", *_CAPABILITIES]])
        else:
            wanted = DeviceRequest(count=-1, capabilities=[["gpu", *_CAPABILITIES]])
        return {"device_requests": [wanted]}

    def described(self) -> Json:
        """For the record: how, and on what."""
        return {"way": self.way, **self.facts}

    @property
    def uuids(self) -> tuple[str, ...]:
        """Of the GPUs that it has, or can be picked from, where the machine tells them apart."""
        found = self.facts.get("devices") or ()
        return tuple(str(device["uuid"]) for device in found if device.get("uuid"))

    def pick(self, positions: Sequence[int]) -> Given:
        """Only those at these positions, in the order in which the machine numbers them."""
        found = self.facts.get("devices") or ()
        devices = [found[position] for position in positions if position < len(found)]
        uuids = [str(device.get("uuid") or "") for device in devices] or [""] * len(positions)
        names = tuple(self._name(position, uuid) for position, uuid in zip(positions, uuids, strict=True))
        return replace(
            self,
            asked=Asked(ids=names),
            devices=tuple(f"{KIND}={name}" for name in names) if self.way == "cdi" else (),
            facts={**self.facts, **({"devices": devices} if devices else {})},
        )

    def _name(self, position: int, uuid: str) -> str:
        """By UUID, unless the engine has CDI's names and knows it by number only."""
        known = bool(uuid) and (self.way != "cdi" or f"{KIND}={uuid}" in self.devices)
        return uuid if known else str(position)


def parse(text: str) -> Asked:
    """``all``, a number of GPUs, or a list of indices or of UUIDs. BadInput for anything else.

    One index alone would be a number: one GPU is named by its UUID.
    """
    wanted = text.strip()
    if wanted.lower() == "all":
        return Asked()
    parts = [part.strip() for part in wanted.split(",")]
    if len(parts) > _MOST or any(_number(part) > 10**6 for part in parts):
        raise BadInput(f"The GPU request '{text[:40]}' is more than any machine has.", _HINT)
    if all(map(_is_number, parts)):
        numbers = sorted(map(int, parts))
        if len(numbers) > 1:
            return Asked(ids=_distinct(text, [str(number) for number in numbers]))
        if 1 <= numbers[0] <= _MOST:
            return Asked(count=numbers[0])
    elif all(map(_UUID.fullmatch, parts)):
        return Asked(ids=_distinct(text, sorted(part[:3].upper() + part[3:].lower() for part in parts)))
    raise BadInput(f"'{text[:80]}' is no request for GPUs.", _HINT)


_HINT = (
    "Write --gpus all, the number of GPUs (2), or which ones: indices (0,1) or UUIDs as `nvidia-smi -L` prints them."
)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,18}", text) is not None


def _number(text: str) -> int:
    return int(text) if _is_number(text) else 0


def _distinct(text: str, ids: list[str]) -> tuple[str, ...]:
    if len(set(ids)) < len(ids):
        raise BadInput(f"The GPU request '{text[:80]}' names a GPU twice.", "Name each one once.")
    return tuple(ids)


def choose(info: Mapping[str, Any], asked: Asked) -> Given:
    """How an engine with this ``docker info`` gives what was asked for. EngineUnavailable when it surely does not."""
    if "BuildahVersion" in info:
        raise EngineUnavailable(
            "Podman gives no GPUs through Docker's interface: it passes over the request without a word.",
            "Use a Docker engine on that machine, or run on the processor: without --gpus, or `nbseal rerun --cpu`.",
        )
    known = _known_devices(info)
    if known:
        return Given(asked, "cdi", _named(asked, known))
    if RUNTIME in (info.get("Runtimes") or {}):
        return Given(asked, "runtime")
    # Asked for by whoever set the engine up, and all it has; it resolves names when the container starts.
    if info.get("CDISpecDirs") and _version(info) < _LISTS:
        names = asked.ids or ["all"]
        return Given(asked, "cdi", tuple(f"{KIND}={name}" for name in names))
    return Given(asked, "device-requests")


def without(asked: Asked) -> Given:
    """GPUs were asked for, and the run goes without, because the user said so."""
    return Given(asked, "none")


def _known_devices(info: Mapping[str, Any]) -> tuple[str, ...]:
    found = [str(item.get("ID", "")) for item in info.get("DiscoveredDevices") or [] if isinstance(item, Mapping)]
    return tuple(name.removeprefix(f"{KIND}=") for name in found if name.startswith(f"{KIND}="))


def _named(asked: Asked, known: tuple[str, ...]) -> tuple[str, ...]:
    """CDI's names of what was asked for; of all GPUs where that is a number of them."""
    numbers = sorted((name for name in known if _is_number(name)), key=int)
    uuids = sorted(name for name in known if _UUID.fullmatch(name))
    whole = numbers or uuids
    if asked.ids:
        wanted = asked.ids
    elif asked.count:
        wanted = tuple(whole)
    else:
        wanted = ("all",) if "all" in known else tuple(whole)
    missing = [name for name in wanted if name not in known]
    if missing or not wanted or len(wanted) < asked.count:
        raise EngineUnavailable(
            f"The container engine does not have the GPUs that were asked for ({asked}).",
            f"It knows {', '.join(known)[:300]}; `nvidia-ctk cdi generate` on its machine lists them anew.",
        )
    return tuple(f"{KIND}={name}" for name in wanted)


def _version(info: Mapping[str, Any]) -> tuple[int, int]:
    match = re.match(r"(\d{1,4})\.(\d{1,4})", str(info.get("ServerVersion", "")))
    return (int(match[1]), int(match[2])) if match else (0, 0)
