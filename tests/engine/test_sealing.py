"""Seals as an auditor sees them: with sha256sum, ssh-keygen and ssh-agent, and none of our software."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal

pytestmark = pytest.mark.engine

#: What a notebook may leave behind: names that need escapes, a link, an empty folder, another encoding.
AWKWARD = """
import os
for name in (b"a\\nb", b"c\\\\d", b"e\\rf", b" g ", b"caf\\xe9", b"%0A", b"-h", "\\u00fc".encode()):
    open(name, "w").write("x")
os.symlink("missing", "link")
os.mkdir("empty")
print("loss: 0.5")
"""


def call(*command: object, stdin: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*map(str, command)], input=stdin, cwd=cwd, capture_output=True, check=False)


def verified(folder: Path, home: Home, name: str) -> subprocess.CompletedProcess[bytes]:
    """What docs/how-to/sign-runs.md tells an auditor to do."""
    return call(
        "ssh-keygen", "-Y", "verify", "-f", home.root / "keys/allowed_signers", "-I", name, "-n", "nbseal-seal",
        "-s", folder / "manifest-sha256.txt.sig", stdin=(folder / "manifest-sha256.txt").read_bytes(),
    )  # fmt: skip


def shown(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Agent:
    environment: dict[str, str]
    folder: Path


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A real ssh-agent."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it says where it listens once it does
    yield Agent({"SSH_AUTH_SOCK": str(path)}, tmp_path)
    process.terminate()
    process.wait(10)
    process.stdout.close()


def test_a_run_is_sealed_signed_and_checked_without_us(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home
) -> None:
    made = shown(nbseal("keys", "new", "--name", "alice@example.org", "--unencrypted", "--json"))
    record = shown(nbseal("run", notebook(AWKWARD), "--json"))
    assert record["seal"]["signature"] == "trusted"
    assert record["seal"]["signer"] == "alice@example.org"
    folder = fresh_home.runs / record["id"]

    sums = call("sha256sum", "--check", "--strict", "manifest-sha256.txt", cwd=folder)
    assert sums.returncode == 0, sums.stderr
    files = call("find", ".", "-type", "f", "-print0", cwd=folder).stdout.split(b"\0")[:-1]
    assert len(files) == sums.stdout.count(b": OK\n") + 2  # the manifest itself and its signature
    digest = call("sha256sum", folder / "manifest-sha256.txt").stdout.split()[0].decode()
    assert record["seal"]["digest"] == f"sha256:{digest}"

    assert verified(folder, fresh_home, "alice@example.org").returncode == 0
    assert made["fingerprint"].encode() in verified(folder, fresh_home, "alice@example.org").stdout
    assert verified(folder, fresh_home, "bob@example.org").returncode != 0
    manifest = folder / "manifest-sha256.txt"
    manifest.chmod(0o644)
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-1])
    assert verified(folder, fresh_home, "alice@example.org").returncode != 0
    found = shown(nbseal("fsck", "--json"))
    assert {item["what"] for item in found["findings"]} == {"changed", "bad-signature"}
    assert nbseal("rerun", record["id"]).returncode == 4
    manifest.write_bytes(whole)
    assert nbseal("fsck").returncode == 0
    (folder / "project/empty").rmdir()
    done = nbseal("fsck", record["id"])
    assert done.returncode == 4
    assert "project/empty is gone" in done.stdout


def test_what_openssh_signs_we_verify(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path) -> None:
    key = tmp_path / "id"
    assert call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bob@example.org", "-f", key).returncode == 0
    adopted = shown(nbseal("keys", "use", key, "--json"))
    assert adopted["name"] == "bob@example.org"
    assert adopted["fingerprint"].encode() in call("ssh-keygen", "-l", "-f", f"{key}.pub").stdout
    assert [path.name for path in (fresh_home.root / "keys").iterdir() if path.is_file()] != [key.name]
    record = shown(nbseal("run", notebook("print(1)"), "--json"))
    folder = fresh_home.runs / record["id"]
    ours = (folder / "manifest-sha256.txt.sig").read_bytes()
    theirs = call(
        "ssh-keygen", "-Y", "sign", "-f", key, "-n", "nbseal-seal", stdin=(folder / "manifest-sha256.txt").read_bytes()
    )
    assert theirs.stdout == ours  # ed25519 has no randomness, so the whole file is the same


def test_an_encrypted_key_signs_through_an_agent_and_only_then(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home, tmp_path: Path, agent: Agent
) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    made = shown(nbseal("keys", "new", "--name", "carol", "--passphrase-file", tmp_path / "passphrase", "--json"))
    assert call("ssh-keygen", "-y", "-P", "", "-f", made["file"]).returncode != 0
    opened = call("ssh-keygen", "-y", "-P", "correct horse", "-f", made["file"])
    assert opened.stdout.split()[1].decode() == made["public"].split()[1]

    path = notebook("print('loss: 0.5')")
    done = nbseal("run", path, "--json")
    assert shown(done)["seal"]["signature"] == "unsigned"
    assert "passphrase" in shown(done)["seal"]["reason"]
    assert "Nothing can be signed now" in done.stderr
    assert done.returncode == 0

    plain = tmp_path / "plain"
    plain.write_bytes(Path(made["file"]).read_bytes())
    plain.chmod(0o600)
    assert call("ssh-keygen", "-p", "-P", "correct horse", "-N", "", "-f", plain).returncode == 0
    environment = {**os.environ, **agent.environment}
    assert subprocess.run(["ssh-add", "-q", str(plain)], env=environment, check=False).returncode == 0
    record = shown(nbseal("run", path, "--json", env=agent.environment))
    assert (record["seal"]["signature"], record["seal"]["signer"]) == ("trusted", "carol")
    assert verified(fresh_home.runs / record["id"], fresh_home, "carol").returncode == 0
    checked = shown(nbseal("fsck", "--json", env=agent.environment))
    assert (checked["findings"], checked["checkpoint"]) == ([], "signed by carol (trusted)")
    assert checked["notes"] == [
        "Entries 2 to 3 were under no checkpoint that counts until entry 4 told of it.",
        "1 run is unsigned.",
    ]


def test_a_key_that_only_an_agent_has(nbseal: Nbseal, fresh_home: Home, tmp_path: Path, agent: Agent) -> None:
    key = tmp_path / "id"
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dave", "-f", key)
    environment = {**os.environ, **agent.environment}
    assert subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=False).returncode == 0
    key.unlink()
    adopted = shown(nbseal("keys", "use", "agent", "--json", env=agent.environment))
    assert (adopted["name"], adopted["file"]) == ("dave", "")
    assert shown(nbseal("fsck", "--json", env=agent.environment))["checkpoint"] == "signed by dave (trusted)"
    done = nbseal("keys", "use", f"{key}.pub")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ssh-add" in done.stderr


def test_other_kinds_of_keys_are_refused(nbseal: Nbseal, tmp_path: Path) -> None:
    key = tmp_path / "id"
    call("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", key)
    for path in (key, Path(f"{key}.pub"), tmp_path / "missing"):
        done = nbseal("keys", "use", path)
        assert done.returncode == 2
        assert "ed25519" in done.stderr
        assert "Traceback" not in done.stderr
    done = nbseal("keys", "new", "--name", "erin")
    assert done.returncode == 2
    assert "--passphrase-file" in done.stderr


def test_labels_comments_and_deletion(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home) -> None:
    run = shown(nbseal("run", notebook("print(1)"), "--json"))["id"]
    assert nbseal("label", run, "baseline").returncode == 0
    assert "taken away" in nbseal("label", run, " ").stdout
    assert nbseal("label", run, "baseline").returncode == 0
    assert nbseal("comment", run[:6], "looks\nright").returncode == 0
    record = shown(nbseal("show", run, "--json"))
    assert record["label"] == "baseline"
    assert [item["text"] for item in record["comments"]] == ["looks\nright"]
    [listed] = shown(nbseal("runs", "--json"))
    assert (listed["label"], listed["seal"]) == ("baseline", record["seal"])
    assert "baseline" in nbseal("runs").stdout
    assert shown(nbseal("delete", run, "--json"))["trash"] == str(fresh_home.trash / run)
    assert shown(nbseal("runs", "--json")) == []
    done = nbseal("show", run)
    assert (done.returncode, done.stdout) == (2, "")
    assert "in the trash" in done.stderr
    assert nbseal("fsck").returncode == 0
    checkpoint = fresh_home.root / "ledger/checkpoint"
    kept = fresh_home.root / "kept"
    kept.write_bytes(checkpoint.read_bytes())
    assert shown(nbseal("purge", run[:8], "--json")) == {"purged": [run]}
    assert not (fresh_home.trash / run).exists()
    assert nbseal("purge", run).returncode == 2
    done = nbseal("fsck", "--against", kept)
    assert done.returncode == 0
    assert "continues the kept checkpoint" in done.stderr
    kept.write_bytes(checkpoint.read_bytes())
    for path in (checkpoint, fresh_home.root / "ledger/hashes"):
        path.unlink()
    entries = fresh_home.root / "ledger/entries.jsonl"
    entries.write_bytes(b"".join(entries.read_bytes().splitlines(keepends=True)[:1]))
    assert "there are 1" in nbseal("fsck", "--against", kept).stdout
    assert nbseal("fsck", "--against", kept).returncode == 4
    done = nbseal("fsck", "--against", "/nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_names_of_keys_on_the_command_line(nbseal: Nbseal, fresh_home: Home) -> None:
    made = shown(nbseal("keys", "new", "--name", "alice", "--unencrypted", "--json"))
    assert nbseal("keys", "trust", "bob", f"{made['file']}.pub").returncode == 0
    assert nbseal("keys").stdout.count("signs") == 1  # two names of one key, and the one that was chosen
    for command in (("keys", "use", "/nope"), ("keys", "trust", "x", "/nope")):
        done = nbseal(*command)
        assert done.returncode == 2
        assert "No such file" in done.stderr
        assert "Errno" not in done.stderr
