"""The lines about each run of an archive: its record, from which bytes it came, who ran it and when, what came out."""

from __future__ import annotations

from engine import store
from engine.archives import layout
from engine.digests import bare
from engine.model import Record
from engine.pipeline.auditing import again, times
from engine.pipeline.auditing.reruns import Reruns
from engine.pipeline.auditing.tally import Tally, Verdict, claimed, missing, proven, unchecked
from engine.pipeline.auditing.whole import NOBODY, Kind, made_again, signed, signer, stamped, voucher
from engine.pipeline.checks import Checks, Named
from engine.pipeline.examining import Examined, ExaminedRun
from engine.signing import UNKNOWN_KEY


def tell(examined: Examined, run: ExaminedRun, reruns: Reruns, checks: Checks, tally: Tally, kind: Kind) -> None:
    """All lines about one run."""
    Told(examined, run, reruns, checks, tally, kind).tell()


class Told:
    """One run's lines; its name is what each is about."""

    def __init__(
        self, examined: Examined, run: ExaminedRun, reruns: Reruns, checks: Checks, tally: Tally, kind: Kind
    ) -> None:
        self._lost = kind.lost
        self._examined, self._run, self._checks, self._tally = examined, run, checks, tally
        self._reruns = reruns
        self._id = run.listed.id
        self._subject = f"run {self._id}"

    def tell(self) -> None:
        record = self._run.record
        if record is None:
            self._tally.add(
                "hash",
                self._subject,
                "what",
                "the record is that of the hash",
                missing(""),
                own=[self._check("record")],
            )
            return
        self._what(record)
        self._who(record)
        self._when(record)
        self._bytes(record)
        self._result(record)

    def _check(self, name: str) -> Named:
        return name, self._id

    def _whom(self) -> str:
        return voucher(self._examined, self._run, self._checks)

    def _what(self, record: Record) -> None:
        notebook = str(record.spec.get("notebook"))
        self._tally.add(
            "hash", self._subject, "what",
            f"{bare(record.hash)[:12]} is the hash of notebook.ipynb ({notebook[:19]}), its flags, source, inputs and "
            "image",
            proven(f"recomputing it of the record, notebook.ipynb and source.json; that the file was called "
                   f"{record.notebook[:200]} is claimed by {self._whom()}"),
            own=[self._check("record"), self._check("hash")],
        )  # fmt: skip
        self._tally.add(
            "seal", self._subject, "what", "its files are those that its seal covers, and no others",
            proven(f"its manifest, recomputed; the seal is {self._run.listed.seal}"), own=[self._check("seal")],
        )  # fmt: skip

    def _who(self, record: Record) -> None:
        seal = self._run.seal
        if seal is None or seal.signature in ("unsigned", "bad"):
            verdict = missing((seal.reason if seal else "") or "the seal is not signed")
        elif seal.signature == "trusted":
            verdict = signed(f"the signature of its seal by {seal.signer}", seal.signer, seal.key, seal.when)
        else:
            verdict = claimed(f"the holder of the key {seal.key}: {seal.reason or UNKNOWN_KEY}", seal.key)
        self._tally.add(
            "sealed-by", self._subject, "who", "a signature of its seal", verdict,
            own=[self._check("seal-signature")], after=[self._check("seal")],
        )  # fmt: skip
        host = record.outcome.host if record.outcome else {}
        where = ", ".join(str(host[name])[:80] for name in ("cpu", "kernel", "engine") if host.get(name))
        self._tally.add(
            "host", self._subject, "who", f"it was executed on {where or 'a host that the record does not describe'}",
            claimed(self._whom()), after=[self._check("seal")],
        )  # fmt: skip

    def _when(self, record: Record) -> None:
        began, ended = times.told(record)
        stamp = stamped(self._examined, self._checks)
        self._checks.run("times", self._id, times.check, self._examined, record, stamp)
        bound = f"; it ended before {stamp.when}, when the archive existed" if stamp else ""
        self._tally.add(
            "times", self._subject, "when", f"it began {began[:40]} and ended {ended[:40] or 'at an unknown time'}",
            claimed(f"the clock of the executing host, told by {self._whom()}{bound}"),
            own=[self._check("times")], after=[self._check("seal")],
        )  # fmt: skip
        entries = self._checks.run("entries", self._id, again.check_entries, self._examined, self._run, record)
        origin, word = self._run.origin, self._examined.words.get("ledger")
        what = "import" if origin.entry.get("kind") == "imported" else "end"
        statement = f"a proof that the ledger has its {what}"
        if origin.index is None:
            verdict = missing(f"there is no proof that the ledger has its {what}")
        else:
            statement = f"its {what} is entry {origin.index} of {origin.ledger}"
            if word is not None and word.state == "trusted":
                proof = f"the proof that it is under the checkpoint signed by {word.by}"
                verdict = signed(proof, word.by, word.key, word.note)
            else:
                verdict = claimed(
                    "whoever wrote the ledger: the proof holds, but its checkpoint counts for nobody here"
                )
        own = [self._check("ledger-entries"), self._check("inclusion"), self._check("entries")]
        self._tally.add("inclusion", self._subject, "when", statement, verdict, own=own, after=[("ledger", "")])
        holder = word.by if word is not None and word.state == "trusted" else "the holder of the ledger"
        if logged := str(origin.entry.get("time") or "")[:40]:
            self._tally.add(
                "logged", self._subject, "when", f"the ledger entered its {what} at {logged}",
                claimed(f"{holder}, by the clock of the ledger"), after=own,
            )  # fmt: skip
        if what == "import":
            self._tally.add(
                "custody", self._subject, "who", times.came(origin.entry), claimed(f"{holder}, who imported it"),
                after=own,
            )  # fmt: skip
        others = [str(entry.get("kind"))[:20] for entry in entries or () if entry != origin.entry]
        if others:
            self._tally.add(
                "trail", self._subject, "when", f"the ledger also has of it: {', '.join(others[:20])}",
                claimed(f"{self._teller()}: only its end has a proof"), after=own,
            )  # fmt: skip

    def _teller(self) -> str:
        """Who vouches for the entries of the ledger that have no proof."""
        whom = signer(self._examined, self._checks)
        return whom if whom != NOBODY else "whoever wrote them down"

    def _bytes(self, record: Record) -> None:
        plan, listing = self._run.plan, self._examined.listing
        hashed = [self._check("hash"), self._check("seal")]
        same = plan and self._checks.run("notebook", self._id, again.check_notebook, self._examined, self._run, plan)
        flags = ", ".join(f"{flag.name}={flag.literal}"[:60] for flag in plan.flags[:8]) if plan else "its flags"
        self._tally.add(
            "notebook", self._subject, "from which bytes",
            f"notebook.ipynb is original.ipynb with {flags or 'no flags'}", made_again(
                self._examined, self._checks, same=bool(same), whom=self._whom(), how="putting them into it again"
            ), own=[self._check("notebook")], after=hashed,
        )  # fmt: skip
        digests = [*hashed, ("digests", layout.BLOBS)]
        count = len(plan.source.files) if plan else 0
        self._tally.add(
            "source", self._subject, "from which bytes", f"{store.counted(count, 'source file')} of the snapshot",
            proven(f"their bytes, which give {record.source[:80]}"), own=[self._check("source")], after=digests,
            gone=self._lost.get("source", ""),
        )  # fmt: skip
        self._inputs(record, digests, left_out=bool(listing and "inputs" in listing.left_out))
        base = self._examined.bases.get(record.base)
        if plan is not None and base is not None:
            self._checks.run("lock", self._id, again.check_lock, record, plan, base)
        self._tally.add(
            "lock", self._subject, "from which bytes",
            f"{store.counted(len(record.wheels), 'wheel')} of its record: what requirements.lock allows, and no others",
            proven("comparing their digests; the hash covers neither lock nor wheels, but the image made of them"),
            own=[self._check("lock")],
            after=[*hashed, ("base", record.base)],
        )  # fmt: skip

    def _inputs(self, record: Record, after: list[Named], *, left_out: bool) -> None:
        inputs = record.inputs
        lost = [item.target[:80] for item in inputs if not item.kept]
        listed = self._check("inputs.json")
        own: list[Named] = [self._check("inputs"), listed]
        if not inputs:
            verdict, own = proven("the spec, which the hash covers, names none"), [listed]
        elif left_out:
            verdict, own = missing("they were left out; their digests are in the spec"), [listed]
        elif lost:
            verdict = missing(f"{', '.join(lost[:5])} was too large to be kept; its digest is in the spec")
        else:
            verdict = proven("their bytes, which have the digests in the spec")
        self._tally.add(
            "inputs", self._subject, "from which bytes",
            f"{store.counted(len(inputs), 'declared input')}" if inputs else "it declared no inputs",
            verdict, own=own, after=after, gone=self._lost.get("inputs", ""),
        )  # fmt: skip

    def _result(self, record: Record) -> None:
        run, examined, checks, plan = self._run, self._examined, self._checks, self._run.plan
        sealed = [self._check("seal")]
        page = None
        if sealed[0] in checks.passed and plan is not None and "page" not in run.untold:
            page = checks.run("page", self._id, again.check_page, examined, run, record)
        self._found_again(
            "cells", "executed.ipynb has no cells but those of notebook.ipynb, in their order",
            proven("comparing their sources"),
        )  # fmt: skip
        self._found_again(
            "outputs", f"{store.counted(len(record.outputs), 'output file')}: what its work tree has beyond the source",
            proven("their bytes, the seal, and comparing project/ with the source"), "outputs.json",
        )  # fmt: skip
        self._found_again(
            "scalars", f"{store.counted(len(record.scalars), 'scalar')}: what executed.ipynb printed"
            + (" and events.jsonl measured" if record.spec.get("gpus") else ""),
            proven("finding them again there"),
        )  # fmt: skip
        self._found_again("page", "its page shows executed.ipynb", made_again(examined, checks, same=bool(page)))
        whom = self._whom()
        self._tally.add(
            "execution", self._subject, "what", f"executing that notebook gave this: {record.status}",
            claimed(f"{whom}; `nbseal rerun {self._id}` would show whether it comes out again"), after=sealed,
        )  # fmt: skip
        network = bool(record.spec.get("network"))
        self._tally.add(
            "network", self._subject, "what", f"it had {'a' if network else 'no'} network", claimed(whom), after=sealed
        )
        self._tally.add(
            "log", self._subject, "what", "log.txt and events.jsonl tell what it printed, and when",
            claimed(whom), after=sealed,
        )  # fmt: skip
        self._reruns.tell(record, self._tally)

    def _found_again(self, name: str, statement: str, verdict: Verdict, *also: str) -> None:
        """A line about something that was looked for again, unless it is too much to be."""
        why, own = self._run.untold.get(name), [self._check(check) for check in (name, *also)]
        if why is not None:
            verdict, own = unchecked(why), [self._check(check) for check in also]
        self._tally.add(name, self._subject, "what", statement, verdict, own=own, after=[self._check("seal")])
