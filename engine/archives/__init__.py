"""Runs become one file that anybody can check, and that a home can take in."""

from engine.archives.contents import ArchivedRun, Contents, Missing, bag_info, ended, readme, to_json
from engine.archives.crate import crate
from engine.archives.members import Member, Spoiled, of_bytes, of_file, of_text, packed
from engine.archives.oci import WholeImage
from engine.archives.oci import members as image_members
from engine.archives.output import check as check_output
from engine.archives.proofs import proof
from engine.archives.provenance import bundle, statement
from engine.archives.sbom import sbom
from engine.archives.timestamps import check_url, stamp
from engine.archives.writer import Attest, Written, write

__all__ = [
    "ArchivedRun",
    "Attest",
    "Contents",
    "Member",
    "Missing",
    "Spoiled",
    "WholeImage",
    "Written",
    "bag_info",
    "bundle",
    "check_output",
    "check_url",
    "crate",
    "ended",
    "image_members",
    "of_bytes",
    "of_file",
    "of_text",
    "packed",
    "proof",
    "readme",
    "sbom",
    "stamp",
    "statement",
    "to_json",
    "write",
]
