"""Runs in a registry of containers, beside their images: references, what is sent and fetched, and the manifests."""

from engine.registry.artifact import (
    BAG,
    CREATED,
    FILE,
    MAX_FILES,
    RUN_HASH,
    RUN_ID,
    RUN_SEAL,
    Artifact,
    Descriptor,
    read,
    read_image,
    render,
)
from engine.registry.client import Client
from engine.registry.credentials import find as find_credentials
from engine.registry.download import download
from engine.registry.parallel import each
from engine.registry.push import refer, send
from engine.registry.reference import RESERVED, SCHEME, Reference, parse, parse_image
from engine.registry.upload import EMPTY, Content, Damaged

__all__ = [
    "BAG",
    "CREATED",
    "EMPTY",
    "FILE",
    "MAX_FILES",
    "RESERVED",
    "RUN_HASH",
    "RUN_ID",
    "RUN_SEAL",
    "SCHEME",
    "Artifact",
    "Client",
    "Content",
    "Damaged",
    "Descriptor",
    "Reference",
    "download",
    "each",
    "find_credentials",
    "parse",
    "parse_image",
    "read",
    "read_image",
    "refer",
    "render",
    "send",
]
