"""What a run executed on. It may change results in their last digits, but it is not part of what was asked."""

from __future__ import annotations

from pathlib import Path

from engine.daemon import Engine
from engine.hosts import LOCAL
from engine.model import Json


def describe_host(engine: Engine, processor: str, gpu: Json | None) -> Json:
    """CPU model, kernel, engine, storage driver, processors and memory (bytes) of a machine, its name, its GPUs."""
    return {
        **({} if engine.host == LOCAL else {"name": engine.host}),
        "cpu": processor,
        "architecture": str(engine.info.get("Architecture", "")),
        "kernel": str(engine.info.get("KernelVersion", "")),
        "engine": f"{engine.name} {engine.version}",
        "storage": engine.storage,
        "processors": int(engine.info.get("NCPU", 0)),
        "memory": int(engine.info.get("MemTotal", 0)),
        **({"gpu": gpu} if gpu else {}),
    }


def processor_model() -> str:
    """As the first processor of this machine calls itself (proc_cpuinfo(5)); empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
