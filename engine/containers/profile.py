"""The fixed environment of every container: nothing of the machine, everything that steers results."""

from __future__ import annotations

from engine.settings import SOURCE_DATE_EPOCH

#: The user's name and home folder, whatever the user id.
USER = "nbseal"
HOME = "/home/nbseal"
HOST_NAME = "nbseal"
#: Threads of numeric libraries. A constant, because the order of a parallel sum depends on it and the last digits of
#: a result with it. Two, because more threads than processors can be slower by an order of magnitude, fewer only
#: by their ratio.
THREADS = 2

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


def environment() -> dict[str, str]:
    """The environment variables of a container, sorted by name; they are part of the spec."""
    variables = {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "LOGNAME": USER,
        # ipykernel's own choice: figures become outputs of their cell.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PATH": "/opt/kernel/bin:/usr/local/bin:/usr/bin:/bin",
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
    return dict(sorted(variables.items()))
