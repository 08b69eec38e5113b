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

__all__ = [
    "MEASURES",
    "Folders",
    "Launch",
    "Whereabouts",
    "elsewhere",
    "environment",
    "execute",
    "forget",
    "held",
    "holding",
    "on_plain_processor",
    "read_whereabouts",
    "resume",
    "traced",
    "with_one_thread",
    "with_other_hashes",
]
