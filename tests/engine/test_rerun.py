"""A record as the start of something else: other flags, an older schema, an image that is gone."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound
from wheel_builders import make_wheel

from engine.daemon import Engine
from engine.digests import bare, sha256_bytes
from engine.environments.assemble import image_config
from engine.environments.base import restore_base
from engine.environments.base_record import keep_record, load_pins
from engine.errors import EnvironmentFailed
from engine.files import remove_tree
from engine.progress import Silent
from engine.settings import Home
from engine.software import Base
from tests.conftest import MakeNotebook, Nbseal, own
from tests.engine.test_run import record_of

pytestmark = pytest.mark.engine

#: A distribution that no index has.
MINE = "nbseal-only-here"


# --- other flags --------------------------------------------------------------------------------


def test_other_flags_are_a_new_spec_that_names_its_parent(
    nbseal: Nbseal, notebook: MakeNotebook, tmp_path: Path
) -> None:
    data = tmp_path / "data.txt"
    data.write_text("7")
    path = notebook(
        "lr = 0.1\nepochs = 3",
        "import helper\nprint(f'score: {helper.scale(lr) * epochs + int(open(\"data.txt\").read())}')",
    )
    (path.parent / "helper.py").write_text("def scale(x):\n    return 10 * x\n")
    first = record_of(nbseal("run", path, "lr=0.2", "--input", data, "--json"))
    direct = record_of(nbseal("run", path, "lr=0.2", "epochs=5", "--input", data, "--json"))
    shutil.rmtree(path.parent)
    data.unlink()

    derived = record_of(nbseal("rerun", first["id"], "--with", "epochs=5", "--json"))
    assert derived["hash"] == direct["hash"] != first["hash"]
    assert derived["flags"] == {"epochs": 5, "lr": 0.2}
    assert derived["scalars"] == {"score": 17.0}
    assert (derived["parent"], derived["rerun_of"], derived["comparison"]) == (first["id"], "", None)
    changed = {key for key in first["spec"] if first["spec"][key] != derived["spec"][key]}
    assert changed == {"notebook", "flags"}
    assert f"parent    {first['id']}" in nbseal("show", derived["id"]).stdout

    back = record_of(nbseal("rerun", derived["id"], "--with", "epochs=3", "--with", "lr=0.1", "--json"))
    assert (back["parent"], back["flags"]) == (derived["id"], {"epochs": 3, "lr": 0.1})
    again = record_of(nbseal("rerun", derived["id"], "--json"))
    assert (again["verdict"], again["parent"], again["rerun_of"]) == ("identical", "", derived["id"])

    for arguments, words in (
        (["epoch=1"], "did you mean 'epochs'?"),
        (["epochs=many"], "epochs"),
        (["epochs=1", "--with", "epochs=2"], "twice"),
        (["epochs=1", "--exact"], "--exact"),
        (["epochs=1", "--at-least", "different"], "--at-least"),
        (["epochs=1", "--image-only"], "--image-only"),
    ):
        done = nbseal("rerun", first["id"], "--with", *arguments, "--json")
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert words in done.stderr


def test_a_derived_run_that_fails_exits_1(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    first = record_of(nbseal("run", notebook("divisor = 1\nprint(1 / divisor)"), "--json"))
    derived = record_of(nbseal("rerun", first["id"], "--with", "divisor=0", "--json"), code=1)
    assert (derived["status"], derived["parent"]) == ("failed", first["id"])


def test_a_kept_notebook_that_does_not_give_the_run_is_no_start(
    nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home
) -> None:
    first = record_of(nbseal("run", notebook("x = 1\nprint(x)"), "--json"))
    run = fresh_home.runs / first["id"]
    kept = run / "original.ipynb"
    kept.chmod(0o644)
    kept.write_text(kept.read_text().replace("print(x)", "print(-x)"))
    done = nbseal("rerun", first["id"], "--with", "x=2")
    assert done.returncode == 4
    # Forged in the record too, as somebody would who wants another notebook under this hash.
    _rewrite(run, lambda document: None)
    done = nbseal("rerun", first["id"], "--with", "x=2")
    assert done.returncode == 4
    assert "does not give what was run" in done.stderr


def _rewrite(run: Path, change: Any) -> None:
    """A run of a version without seals, its run.json written by somebody else; a sealed one is refused sooner."""
    shutil.rmtree(run.parents[1] / "ledger")
    for name in ("manifest-sha256.txt", "irregular.json"):
        (run / name).unlink()
    path = run / "run.json"
    document = json.loads(path.read_bytes())
    path.unlink()
    files = [item for item in run.rglob("*") if item.is_file() and run / "project" not in item.parents]
    document["files"] = {item.relative_to(run).as_posix(): sha256_bytes(item.read_bytes()) for item in files}
    change(document)
    path.write_text(json.dumps(document, sort_keys=True))


# --- an older schema ----------------------------------------------------------------------------


def test_a_record_of_schema_1_is_rerun(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home) -> None:
    first = record_of(nbseal("run", notebook("lr = 0.5\nprint(f'loss: {lr}')"), "--json"))

    def as_schema_1(document: Any) -> None:
        document["schema"] = 1
        del document["parent"], document["experiment"]

    _rewrite(fresh_home.runs / first["id"], as_schema_1)
    assert [item["hash"] for item in json.loads(nbseal("runs", "--json").stdout)] == [first["hash"]]
    again = record_of(nbseal("rerun", first["hash"][:12], "--json"))
    assert (again["hash"], again["verdict"], again["schema"]) == (first["hash"], "identical", 2)
    derived = record_of(nbseal("rerun", first["id"], "--with", "lr=1.0", "--json"))
    assert derived["parent"] == first["id"]
    written = json.loads((fresh_home.runs / first["id"] / "run.json").read_bytes())
    assert (written["schema"], "parent" in written) == (1, False)


# --- the image ----------------------------------------------------------------------------------


@pytest.fixture
def apart(home: Home, engine: Engine) -> Iterator[Home]:
    """A home with layers and wheels of its own, which a test may lose; only the base is borrowed."""
    apart = Home(Path(tempfile.mkdtemp(prefix="apart-", dir=home.root.parent)))
    own(home, apart, ("layers", "wheels"))
    for name in ("bases", "packages"):
        (apart.root / name).symlink_to(home.root / name)
    yield apart
    for path in apart.images.glob("*.json"):
        document = json.loads(path.read_bytes())
        if any(wheel["name"] == MINE for wheel in document["wheels"]):
            _forget(document["id"], engine)
    remove_tree(apart.root)


def _forget(image: str, engine: Engine) -> None:
    with suppress(ImageNotFound):
        engine.client.images.remove(engine.handle(image), force=True)


@pytest.fixture
def mine(nbseal: Nbseal, notebook: MakeNotebook, apart: Home, tmp_path: Path) -> Any:
    """A run that needs a wheel which only a folder of this test has."""
    make_wheel(tmp_path / "links", MINE, "1.0")
    path = notebook("print('fine: 1')")
    links = {"PIP_FIND_LINKS": str(tmp_path / "links")}
    return record_of(nbseal("run", path, "--requirement", MINE, "--json", home=apart, env=links))


def test_an_image_that_is_gone_is_made_again(nbseal: Nbseal, mine: Any, apart: Home, engine: Engine) -> None:
    _forget(mine["image"], engine)
    shutil.rmtree(apart.layers)
    shutil.rmtree(apart.images)
    again = record_of(nbseal("rerun", mine["id"], "--json", home=apart, env={"PIP_NO_INDEX": "1"}))
    assert (again["verdict"], again["image"]) == ("identical", mine["image"])


def test_the_image_alone(nbseal: Nbseal, mine: Any, apart: Home, engine: Engine) -> None:
    offline = {"PIP_NO_INDEX": "1"}
    _forget(mine["image"], engine)
    done = nbseal("rerun", mine["id"], "--image-only", "--json", home=apart, env=offline)
    expected = {"run": mine["id"], "image": mine["image"], "rebuilt": mine["image"], "equal": True}
    assert record_of(done) == expected
    assert engine.find_image(mine["image"]) == engine.handle(mine["image"])
    assert len(list(apart.runs.iterdir())) == 1

    # What was packed before decides nothing: here every wheel is said to have become the same layer.
    keys = sorted((apart.layers / "keys").iterdir())
    wrong = keys[0].read_bytes()
    for key in keys:
        key.unlink()  # the file has another name in a home that is not ours to spoil
        key.write_bytes(wrong)
    assert nbseal("rerun", mine["id"], "--image-only", home=apart, env=offline).returncode == 0

    # Another file of that name and digest in the record gives another image.
    other = next(wheel for wheel in mine["wheels"] if wheel["name"] != MINE)
    _rewrite(apart.runs / mine["id"], lambda document: document["wheels"].remove(other))
    done = nbseal("rerun", mine["id"], "--image-only", "--json", home=apart, env=offline)
    found = record_of(done, code=4)
    assert (found["image"], found["equal"]) == (mine["image"], False)
    assert found["rebuilt"] not in (mine["image"], "")
    assert list((apart.layers / "work").iterdir()) == []


def test_a_wheel_that_is_nowhere_is_named(
    nbseal: Nbseal, mine: Any, apart: Home, engine: Engine, tmp_path: Path
) -> None:
    wheel = next(wheel for wheel in mine["wheels"] if wheel["name"] == MINE)
    file = tmp_path / "links" / wheel["filename"]
    file.rename(tmp_path / file.name)
    _forget(mine["image"], engine)
    shutil.rmtree(apart.layers)
    shutil.rmtree(apart.images)
    shutil.rmtree(apart.wheels / bare(wheel["sha256"]))
    links = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "links")}
    for option in ([], ["--image-only"]):
        done = nbseal("rerun", mine["id"], *option, "--json", home=apart, env=links)
        assert (done.returncode, done.stdout) == (5, ""), done.stderr
        for words in (f"{MINE} 1.0", wheel["filename"], wheel["sha256"], str(apart.wheels), "links", "PIP_FIND_LINKS"):
            assert words in done.stderr.replace("\n", "")
    # What the hint says helps.
    given = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    again = record_of(nbseal("rerun", mine["id"], "--json", home=apart, env=given))
    assert (again["verdict"], again["image"]) == ("identical", mine["image"])


def test_an_index_that_does_not_answer_is_no_lost_wheel(nbseal: Nbseal, mine: Any, apart: Home, engine: Engine) -> None:
    _forget(mine["image"], engine)
    shutil.rmtree(apart.layers)
    shutil.rmtree(apart.images)
    wheel = next(wheel for wheel in mine["wheels"] if wheel["name"] == MINE)
    shutil.rmtree(apart.wheels / bare(wheel["sha256"]))
    deaf = {"PIP_INDEX_URL": "http://user:secret@127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
    done = nbseal("rerun", mine["id"], "--json", home=apart, env=deaf)
    assert (done.returncode, done.stdout) == (5, ""), done.stderr
    assert wheel["sha256"] in done.stderr
    assert "network" in done.stderr
    assert "secret" not in done.stderr


def test_a_forged_wheel_of_a_record_is_refused(nbseal: Nbseal, mine: Any, apart: Home, engine: Engine) -> None:
    _forget(mine["image"], engine)
    shutil.rmtree(apart.images)
    _rewrite(apart.runs / mine["id"], lambda document: document["wheels"][0].update(filename="../../../x.whl"))
    done = nbseal("rerun", mine["id"], home=apart)
    assert done.returncode == 4
    assert "../../../x.whl" in done.stderr


@pytest.mark.parametrize("recipe", ["of this version", "of another"])
def test_a_base_that_cannot_be_made_again(base: Base, apart: Home, engine: Engine, recipe: str) -> None:
    lost = replace(base.layers[0], diff_id="sha256:" + "7" * 64)
    config = image_config([lost], environment={})
    old = replace(base, id=sha256_bytes(config), layers=(lost,))
    if recipe == "of another":
        old = replace(old, recipe="sha256:" + "8" * 64)
    bases = apart.bases.resolve()
    apart.bases.unlink()
    shutil.copytree(bases, apart.bases)
    keep_record(old, config, load_pins(base, apart), apart)
    with pytest.raises(EnvironmentFailed, match="makes another base") as caught:
        restore_base(old, apart, engine, Silent())
    assert "base import" in caught.value.hint


def test_a_base_that_this_home_never_had(nbseal: Nbseal, mine: Any, apart: Home, engine: Engine) -> None:
    _forget(mine["image"], engine)
    shutil.rmtree(apart.images)
    (apart.root / "bases").unlink()
    done = nbseal("rerun", mine["id"], "--json", home=apart)
    assert (done.returncode, done.stdout) == (5, "")
    assert bare(mine["base"])[:12] in done.stderr
    assert "base import" in done.stderr
