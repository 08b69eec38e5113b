"""Image + run directory -> execution: a sealed container, followed while it runs."""

from engine.containers.execute import execute, remove_container
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
from engine.containers.settle import settle

__all__ = [
    "MEASURES",
    "elsewhere",
    "environment",
    "execute",
    "held",
    "holding",
    "on_plain_processor",
    "remove_container",
    "settle",
    "traced",
    "with_one_thread",
    "with_other_hashes",
]
