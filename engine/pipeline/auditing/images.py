"""The lines about what runs were executed in: each image, and what it is made of."""

from __future__ import annotations

from engine.archives import layout
from engine.digests import bare
from engine.pipeline.auditing import again
from engine.pipeline.auditing.tally import Tally, claimed, missing, proven
from engine.pipeline.auditing.whole import Kind, made_again, voucher
from engine.pipeline.checks import Checks
from engine.pipeline.examining import Examined, ExaminedRun


def tell(examined: Examined, checks: Checks, tally: Tally, kind: Kind) -> None:
    """All lines about the images of the runs."""
    runs = {run.record.image: run for run in examined.runs if run.record}
    for _, run in sorted(runs.items()):
        _image(examined, run, checks, tally, kind)


def _image(examined: Examined, run: ExaminedRun, checks: Checks, tally: Tally, kind: Kind) -> None:
    record = run.record
    assert record is not None  # noqa: S101 (those without one are not told of)
    subject, left_out = f"image {bare(record.image)[:12]}", examined.listing.left_out if examined.listing else ()
    base = examined.bases.get(record.base)
    tally.add(
        "base", subject, "from which bytes", f"it stands on the base {bare(record.base)[:12]}",
        proven("the base's config, whose digest is its id; its record and its list of packages fit each other"),
        own=[("bases", ""), ("base", record.base), ("ingredients", "")],
    )  # fmt: skip
    whole = missing(kind.left_out["image"] if "image" in left_out else "")
    if "image" not in left_out:
        whole = proven("its config, whose digest is the id, and its layers, which the config names")
    own = [("images", ""), ("image-ids", ""), *([("image", record.image)] if "image" not in left_out else [])]
    tally.add("image", subject, "from which bytes", f"the image {record.image}", whole, own=own)
    if "wheels" in left_out:
        tally.add(
            "wheels", subject, "from which bytes", "the wheels of image and harness",
            missing(kind.left_out["wheels"]),
        )  # fmt: skip
    else:
        tally.add(
            "wheels", subject, "from which bytes", "the wheels of image and harness",
            proven("their bytes, which have the digests in the records of run and base"),
            own=[("wheels", "")], after=[("ingredients", ""), ("digests", layout.WHEELS)],
        )  # fmt: skip
    whom = voucher(examined, run, checks)
    tally.add(
        "build", subject, "from which bytes", "these wheels and packages give this image",
        claimed(f"{whom}; `nbseal rerun {record.id} --image-only` would prove it"), after=[("hash", record.id)],
    )  # fmt: skip
    same = base and checks.run("sbom", record.image, again.check_sbom, examined, record, base)
    tally.add(
        "sbom", subject, "what", "the SBOM lists what the records of run and base name",
        made_again(examined, checks, same=bool(same)),
        own=[("sbom", record.image)], after=[("base", record.base)],
    )  # fmt: skip
