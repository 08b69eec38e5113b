"""Runs on other machines: folders that travel."""

from engine.containers.remote.site import Remote

__all__ = ["Remote"]
