"""Image + run directory -> execution: a sealed container, followed while it runs."""

from engine.containers.execute import execute, remove_container
from engine.containers.profile import environment
from engine.containers.settle import settle

__all__ = ["environment", "execute", "remove_container", "settle"]
