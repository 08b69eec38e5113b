"""Image + run directory -> execution: a sealed container, followed while it runs."""

from engine.containers.execute import execute, forget, resume
from engine.containers.identity import Whereabouts, read_whereabouts
from engine.containers.launch import Folders, Launch
from engine.containers.profile import (
    MEASURES,
    elsewhere,
    environment,
    held,
    holding,
    on_plain_processor,
    traced,
    with_one_thread,
    with_other_hashes,
)
from engine.containers.stopping import find_running, stop

__all__ = [
    "MEASURES",
    "Folders",
    "Launch",
    "Whereabouts",
    "elsewhere",
    "environment",
    "execute",
    "find_running",
    "forget",
    "held",
    "holding",
    "on_plain_processor",
    "read_whereabouts",
    "resume",
    "stop",
    "traced",
    "with_one_thread",
    "with_other_hashes",
]
