"""The fixed environment of every container: nothing of the machine, everything that steers results."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from engine.settings import SOURCE_DATE_EPOCH

#: The user's name and home folder, whatever the user id.
USER = "nbseal"
HOME = "/home/nbseal"
HOST_NAME = "nbseal"
#: Threads of numeric libraries. A constant, because the order of a parallel sum depends on it and the last digits of
#: a result with it. Two, because more threads than processors can be slower by an order of magnitude, fewer only
#: by their ratio.
THREADS = 2

_PATH = "/usr/local/bin:/usr/bin:/bin"
_THREAD_VARIABLES = (
    "BLIS_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "PYTHON_CPU_COUNT",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


#: What ``--deterministic`` holds steady; see ``engine.harness.instrument``.
MEASURES = ("clock", "frameworks", "seeds")
_HOLD, _TRACE = "NBSEAL_HOLD", "NBSEAL_TRACE"
#: Switches that frameworks read from the environment; those that need a call are in the harness.
_SWITCHES = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "MKL_CBWR": "COMPATIBLE", "TF_DETERMINISTIC_OPS": "1"}
#: Numeric libraries without what newer processors add: vectors wider than 128 bits and fused multiplication.
_PLAIN_PROCESSOR = {
    "ATEN_CPU_CAPABILITY": "default",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX_Usable,-AVX2_Usable,-AVX2,-FMA_Usable,-FMA,-AVX512F_Usable,-AVX512F",
    "MKL_CBWR": "COMPATIBLE",
    # Names of before and since NumPy 2.4; it passes over those that it does not know.
    "NPY_DISABLE_CPU_FEATURES": "FMA3 AVX2 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
    " X86_V3 X86_V4",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
}


def environment(hold: Collection[str] = (), path: str = "") -> dict[str, str]:
    """The environment variables of a container, sorted by name; they are part of the spec.

    ``hold`` are measures for determinism, some of MEASURES; ``path`` is where the image has its programs. Other
    variables of the image's own reach the container from its config, under these.
    """
    variables = {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "LOGNAME": USER,
        # ipykernel's own choice: figures become outputs of their cell.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PATH": f"/opt/kernel/bin:{path or _PATH}",
        # Compiled files of the project's own modules are no output of the notebook.
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "SHELL": "/bin/bash",
        "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
        "TZ": "UTC",
        "USER": USER,
        "VIRTUAL_ENV": "/opt/kernel",
        **dict.fromkeys(_THREAD_VARIABLES, str(THREADS)),
    }
    return holding(variables, hold)


def holding(variables: Mapping[str, str], measures: Collection[str]) -> dict[str, str]:
    """An environment with exactly these measures in place of those that it has."""
    others = {name: value for name, value in variables.items() if name != _HOLD and name not in _SWITCHES}
    if "frameworks" in measures:
        others |= _SWITCHES
    if measures:
        others[_HOLD] = ",".join(sorted(measures))
    return dict(sorted(others.items()))


def held(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The measures that an environment has."""
    return tuple(filter(None, variables.get(_HOLD, "").split(",")))


def needs_instrument(variables: Mapping[str, str]) -> bool:
    """Whether the harness must know of measures and traces (protocol 2)."""
    return _HOLD in variables or _TRACE in variables


# --- what an experiment changes -------------------------------------------------------------------


def traced(variables: Mapping[str, str]) -> dict[str, str]:
    """So that the run says where randomness, the clock and the network enter."""
    return {**variables, _TRACE: "1"}


def with_one_thread(variables: Mapping[str, str]) -> dict[str, str]:
    """One thread for each numeric library."""
    return {**variables, **dict.fromkeys(_THREAD_VARIABLES, "1")}


def with_other_hashes(variables: Mapping[str, str]) -> dict[str, str]:
    """Other hashes of texts, and so another order of sets."""
    return {**variables, "PYTHONHASHSEED": "1" if variables.get("PYTHONHASHSEED") != "1" else "2"}


def elsewhere(variables: Mapping[str, str]) -> dict[str, str]:
    """Another user, another home folder, another host name."""
    return {**variables, "USER": "somebody", "LOGNAME": "somebody", "HOME": "/home/somebody", "HOSTNAME": "elsewhere"}


def on_plain_processor(variables: Mapping[str, str]) -> dict[str, str]:
    """The newer features of the processor switched off, in the libraries that have a switch."""
    return {**variables, **_PLAIN_PROCESSOR}
