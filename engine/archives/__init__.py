"""Runs become one file that anybody can check, and that a home can take in."""

from engine.archives.attestations import Checkpoint, Judge, Origin, Word, check_attestations, read_end
from engine.archives.bag import Listed, Listing, check_info, check_manifests, read_contents, written_by
from engine.archives.content import BY_DIGEST, check_digests, check_strays, check_there, check_use
from engine.archives.contents import ArchivedRun, Contents, Missing, bag_info, ended, readme, to_json
from engine.archives.crate import crate
from engine.archives.documents import check_json
from engine.archives.images import ArchivedImage, check_images
from engine.archives.members import Member, Spoiled, of_bytes, of_file, of_text, packed
from engine.archives.oci import WholeImage
from engine.archives.oci import members as image_members
from engine.archives.output import check as check_output
from engine.archives.peek import is_archive, peek
from engine.archives.proofs import proof, told_missing
from engine.archives.provenance import bundle, statement
from engine.archives.receive import RESERVE, File, Intake, Received, receive
from engine.archives.sbom import sbom
from engine.archives.timestamps import check_url, stamp
from engine.archives.worktree import unpack
from engine.archives.writer import Attest, Written, write, write_around

__all__ = [
    "BY_DIGEST",
    "RESERVE",
    "ArchivedImage",
    "ArchivedRun",
    "Attest",
    "Checkpoint",
    "Contents",
    "File",
    "Intake",
    "Judge",
    "Listed",
    "Listing",
    "Member",
    "Missing",
    "Origin",
    "Received",
    "Spoiled",
    "WholeImage",
    "Word",
    "Written",
    "bag_info",
    "bundle",
    "check_attestations",
    "check_digests",
    "check_images",
    "check_info",
    "check_json",
    "check_manifests",
    "check_output",
    "check_strays",
    "check_there",
    "check_url",
    "check_use",
    "crate",
    "ended",
    "image_members",
    "is_archive",
    "of_bytes",
    "of_file",
    "of_text",
    "packed",
    "peek",
    "proof",
    "read_contents",
    "read_end",
    "readme",
    "receive",
    "sbom",
    "stamp",
    "statement",
    "to_json",
    "told_missing",
    "unpack",
    "write",
    "write_around",
    "written_by",
]
