"""GPU requests, the way that an engine gives them, what nvidia-smi says, and what engines say instead."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.containers.gpu_facts import read
from engine.containers.gpu_turns import free
from engine.containers.gpus import Asked, Given, choose, parse, without
from engine.containers.refusals import refused
from engine.errors import BadInput, EngineUnavailable
from engine.pipeline.gpus import told

UUID = "GPU-3a1f6b1c-0d2e-4c5a-9f00-1234567890ab"
MIG = "MIG-3a1f6b1c-0d2e-4c5a-9f00-1234567890ac"

indices = st.lists(st.integers(0, 63), min_size=2, max_size=64, unique=True)
uuids = st.lists(
    st.builds(lambda kind, uuid: f"{kind}-{uuid}", st.sampled_from(["GPU", "MIG", "gpu"]), st.uuids()),
    min_size=1,
    max_size=8,
    unique_by=lambda text: text.upper(),
)


def info(name: str, **changes: Any) -> dict[str, Any]:
    """``docker info`` as an engine wrote it, without what is only of its machine."""
    document: dict[str, Any] = json.loads((Path(__file__).with_name("engines") / f"{name}.json").read_text())
    return document | changes


# --- requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("all", "all"), (" ALL ", "all"), ("1", "1"), ("08", "8"), ("1,0", "0,1"), (" 2 , 10,3", "2,3,10"),
        (UUID.upper(), UUID), (f"{MIG},{UUID}", f"{UUID},{MIG}"),
    ],
)  # fmt: skip
def test_a_request_has_one_form(text: str, normal: str) -> None:
    assert str(parse(text)) == normal


@given(st.one_of(indices.map(lambda numbers: [str(number) for number in numbers]), uuids), st.randoms())
def test_the_order_does_not_matter_and_the_form_is_its_own(ids: list[str], chance: random.Random) -> None:
    normal = parse(",".join(ids))
    chance.shuffle(ids)
    assert parse(" , ".join(ids)) == normal
    assert parse(str(normal)) == normal
    assert len(normal.ids) == len(ids)


@given(st.integers(1, 64))
def test_a_number_is_a_count(count: int) -> None:
    assert parse(str(count)) == Asked(count=count)


@given(st.text(max_size=60) | st.from_regex(r"[0-9,\-GPUMIall ]{0,40}", fullmatch=True))
def test_anything_else_is_bad_input_and_nothing_worse(text: str) -> None:
    with suppress(BadInput):
        asked = parse(text)
        assert parse(str(asked)) == asked


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "0", "65", "-1", "+1", "1.5", "1e3", "none", "all,1", "0,0", "00,0", "0,", ",", "٢", "²", "$(id)",
        "0\n1", "9" * 4000, "0," * 4000, "1000001,1", "GPU-1", UUID[:-1], f"{UUID},0", f"{UUID},{UUID.lower()}",
        "gpu=1", "1;rm", "\0",
    ],
)  # fmt: skip
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(BadInput) as refusal:
        parse(text)
    assert len(refusal.value.message) < 200


# --- ways -------------------------------------------------------------------------------------

NVIDIA = {"Runtimes": {"nvidia": {"path": "nvidia-container-runtime"}, "runc": {"path": "runc"}}}


@pytest.mark.parametrize(
    ("engine", "request_", "way", "devices"),
    [
        (info("docker-20.10"), "1", "device-requests", []),
        (info("docker-20.10", **NVIDIA), "1", "runtime", []),
        (info("docker-28.5"), "all", "device-requests", []),
        (info("docker-28.5", **NVIDIA), "all", "runtime", []),
        (info("docker-28.5-cdi"), "all", "cdi", ["all"]),
        (info("docker-28.5-cdi"), "1", "cdi", ["0", "1"]),  # to be picked from
        (info("docker-28.5-cdi"), "2", "cdi", ["0", "1"]),
        (info("docker-28.5-cdi"), "1,0", "cdi", ["0", "1"]),
        (info("docker-28.5-cdi", **NVIDIA), "2", "cdi", ["0", "1"]),
        # CDI, but not of GPUs
        (info("docker-28.5", DiscoveredDevices=[{"ID": "vendor.com/nic=0"}]), "1", "device-requests", []),
        # CDI switched on in an engine that does not list what it knows
        (info("docker-28.5", ServerVersion="26.1.5", CDISpecDirs=["/etc/cdi"]), "2", "cdi", ["all"]),
        (info("docker-28.5", ServerVersion="26.1.5", CDISpecDirs=["/etc/cdi"]), "all", "cdi", ["all"]),
        (info("docker-28.5", ServerVersion="26.1.5", CDISpecDirs=["/etc/cdi"], **NVIDIA), "all", "runtime", []),
        (info("docker-28.5", ServerVersion="26.1.5", CDISpecDirs=[]), "all", "device-requests", []),
        ({}, "all", "device-requests", []),
        ({"Runtimes": None, "DiscoveredDevices": ["x", None, {}]}, "all", "device-requests", []),
    ],
)  # fmt: skip
def test_the_way_is_chosen_by_asking(engine: dict[str, Any], request_: str, way: str, devices: list[str]) -> None:
    given = choose(engine, parse(request_))
    assert (given.way, list(given.devices)) == (way, [f"nvidia.com/gpu={name}" for name in devices])


def test_uuids_by_cdi_are_those_that_the_engine_knows() -> None:
    known = [{"Source": "cdi", "ID": f"nvidia.com/gpu={UUID}"}]
    assert choose(info("docker-28.5", DiscoveredDevices=known), parse(UUID)).devices == (f"nvidia.com/gpu={UUID}",)
    assert choose(info("docker-28.5", DiscoveredDevices=known), parse("all")).devices == (f"nvidia.com/gpu={UUID}",)
    assert choose(info("docker-28.5", DiscoveredDevices=known), parse("1")).devices == (f"nvidia.com/gpu={UUID}",)


@pytest.mark.parametrize("request_", ["3", "0,2", UUID])
def test_what_cdi_does_not_list_is_refused(request_: str) -> None:
    with pytest.raises(EngineUnavailable, match="does not have the GPUs") as refusal:
        choose(info("docker-28.5-cdi"), parse(request_))
    assert "It knows 0, 1, all" in refusal.value.hint


def test_podman_is_refused() -> None:
    with pytest.raises(EngineUnavailable, match="Podman gives no GPUs") as refusal:
        choose(info("podman-4.3"), parse("1"))
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize(("request_", "visible"), [("all", "all"), ("3", "all"), ("4,1", "1,4"), (UUID, UUID)])
def test_the_runtime_reads_the_environment(request_: str, visible: str) -> None:
    given = Given(parse(request_), "runtime")
    assert given.settings() == {"runtime": "nvidia"}
    assert given.environment() == {
        "NVIDIA_VISIBLE_DEVICES": visible,
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }


@pytest.mark.parametrize(("request_", "count", "ids"), [("all", -1, []), ("2", -1, []), ("4,1", 0, ["1", "4"])])
def test_device_requests(request_: str, count: int, ids: list[str]) -> None:
    given = Given(parse(request_), "device-requests")
    (wanted,) = given.settings()["device_requests"]
    assert (wanted["Count"], wanted["DeviceIDs"] or []) == (count, ids)
    assert wanted["Capabilities"] == [["gpu", "compute", "utility"]]
    assert given.environment() == {}


def test_cdi_and_none() -> None:
    (wanted,) = choose(info("docker-28.5-cdi"), parse("2")).settings()["device_requests"]
    assert (wanted["Driver"], wanted["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=0", "nvidia.com/gpu=1"])
    none = without(parse("2"))
    assert (none.settings(), none.environment(), none.described()) == ({}, {}, {"way": "none"})


# --- what is there ----------------------------------------------------------------------------


def test_what_nvidia_smi_says() -> None:
    said = (
        f"550.54.14, 40960, {UUID}, 8.0, NVIDIA A100-SXM4-40GB\n550.54.14, [N/A], ?, [N/A], NVIDIA GB10, with a comma\n"
    )
    assert read(said) == {
        "driver": "550.54.14",
        "devices": [
            {"name": "NVIDIA A100-SXM4-40GB", "uuid": UUID, "memory": 40 << 30, "compute_capability": "8.0"},
            {"name": "NVIDIA GB10, with a comma", "uuid": None, "memory": None, "compute_capability": None},
        ],
    }


@pytest.mark.parametrize(
    "said",
    ["", "\n", "No devices were found", "x, 1, 8.0, y", "550.54, 1", "550.54.14; 1; 2; 3", "5" * 99 + ", 1, 1, n"],
)
def test_what_it_cannot_mean(said: str) -> None:
    assert read(said) == {"unknown": "nvidia-smi names no GPU"}


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_hostile_words_of_it(said: str) -> None:
    for text in (
        said,
        f"550.1, 1, {said}, 8.0, {said}",
        f"550.1, {said}, {said}, n",
        f"550.1, 1, u, 8.0, n{said}\n" * 200,
    ):
        facts = read(text)
        assert len(facts.get("devices", ())) <= 64
        for device in facts.get("devices", ()):
            assert device["name"].isprintable()
            assert len(device["name"]) <= 100
        assert isinstance(told({"way": "runtime", **facts}), str)


@pytest.mark.parametrize(
    "forged", [None, 1, [], {}, {"way": []}, {"devices": 1}, {"devices": [1, {}, {"memory": "x"}]}]
)
def test_a_forged_record_is_told_somehow(forged: object) -> None:
    assert told(forged)


# --- what engines say instead -----------------------------------------------------------------

_SHIM = (
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
    "error during container init: error running hook #0: error running hook: exit status 1, stdout: , stderr: "
)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('could not select device driver "" with capabilities: [[gpu compute utility]]', "has no driver for GPUs"),
        ('could not select device driver "cdi" with capabilities: []', "has no driver for GPUs"),
        ("Unknown runtime specified nvidia", "does not know the runtime nvidia."),
        ("unknown or invalid runtime name: nvidia", "does not know the runtime nvidia."),
        (
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=0, nvidia.com/gpu=9",
            "does not have nvidia.com/gpu=0, nvidia.com/gpu=9.",
        ),
        ("CDI device injection failed: something new", "cannot give GPUs by CDI"),
        (
            'failed to create task for container: exec: "nvidia-container-runtime": executable file not found in $PATH',
            "does not find its own nvidia-container-runtime.",
        ),
        (
            f"{_SHIM}nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown",
            "does not work (initialization error: nvml error: driver not loaded).",
        ),
        (
            f"{_SHIM}Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization error: load library failed: "
            "libnvidia-ml.so.1: cannot open shared object file: no such file or directory: unknown",
            "libnvidia-ml.so.1: cannot open shared object file: no such file or directory).",
        ),
        (
            f"{_SHIM}nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.4, please update your "
            "driver to a newer version, or use an earlier cuda container: unknown",
            "too old for the image, which wants cuda>=12.4.",
        ),
        (f"{_SHIM}nvidia-container-cli: device error: 7: unknown device: unknown", "asked for (7: unknown device)."),
        (f"{_SHIM}something else: unknown", "A hook of the container engine's failed (something else)."),
    ],
)
def test_refusals_are_sentences(said: str, message: str) -> None:
    refusal = refused(said)
    assert refusal is not None
    assert message in refusal.message
    assert refusal.hint
    assert refusal.exit_code == 3


@pytest.mark.parametrize("said", ["", "no space left on device", "No such image: sha256:00", "Conflict. The name"])
def test_other_words_are_left_alone(said: str) -> None:
    assert refused(said) is None


# --- which of them --------------------------------------------------------------------------------


def having(given: Given, *uuids: str | None) -> Given:
    """As after the machine was asked."""
    devices = [{"name": f"GPU {at}", "uuid": uuid, "memory": None} for at, uuid in enumerate(uuids)]
    return replace(given, facts={"driver": "550.1", "devices": devices})


def test_a_number_of_gpus_are_those_that_are_free() -> None:
    two = having(Given(parse("2"), "runtime"), "GPU-a", "GPU-b", "GPU-c")
    picked = free(two, {"GPU-b": "other"})
    assert picked is not None
    assert picked.environment()["NVIDIA_VISIBLE_DEVICES"] == "GPU-a,GPU-c"
    assert picked.uuids == ("GPU-a", "GPU-c")
    assert [device["name"] for device in picked.described()["devices"]] == ["GPU 0", "GPU 2"]
    assert free(two, {"GPU-a": "x", "GPU-b": "y"}) is None


def test_those_that_were_named_and_all_of_them_have_to_be_free() -> None:
    for request_ in ("all", "0,1"):
        both = having(Given(parse(request_), "device-requests"), "GPU-a", "GPU-b")
        assert free(both, {"GPU-z": "other"}) == both
        assert free(both, {"GPU-b": "other"}) is None


@pytest.mark.parametrize("engine", ["docker-28.5-cdi", "docker-25"])
def test_by_cdi_they_are_picked_by_the_name_that_the_engine_knows(engine: str) -> None:
    known = (
        info("docker-28.5", ServerVersion="25.0", CDISpecDirs=["/etc/cdi"]) if engine == "docker-25" else info(engine)
    )
    one = having(choose(known, parse("1")), UUID, "GPU-b")
    picked = free(one, {UUID: "other"})
    assert picked is not None
    (wanted,) = picked.settings()["device_requests"]
    assert wanted["DeviceIDs"] == ["nvidia.com/gpu=1"]
    by_uuid = info("docker-28.5", DiscoveredDevices=[{"Source": "cdi", "ID": f"nvidia.com/gpu={UUID}"}])
    picked = free(having(choose(by_uuid, parse("1")), UUID), ())
    assert picked is not None
    assert picked.devices == (f"nvidia.com/gpu={UUID}",)


def test_where_one_cannot_be_told_from_another_the_first_ones_are_taken() -> None:
    unasked = free(Given(parse("2"), "device-requests", facts={"unknown": "no nvidia-smi"}), {"GPU-a": "other"})
    assert unasked is not None
    assert unasked.settings()["device_requests"][0]["DeviceIDs"] == ["0", "1"]
    nameless = free(having(Given(parse("1"), "runtime"), None, None), {"GPU-a": "other"})
    assert nameless is not None
    assert (nameless.environment()["NVIDIA_VISIBLE_DEVICES"], nameless.uuids) == ("0", ())
