"""Planted differences of all kinds, and the verdict and the cause that must come out for each."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.settings import Home
from tests.conftest import MakeNotebook, Nbseal
from tests.engine.test_run import record_of

pytestmark = pytest.mark.engine

_IMPORTS = "import datetime, logging, os, random, secrets, socket, tempfile, threading, time, uuid\nimport numpy as np"

#: A cell, the verdict on its worst unit when it is repeated, the causes of that, and the line where it enters.
MOVING: tuple[tuple[str, str, set[str], str], ...] = (
    (_IMPORTS, "identical", set(), ""),
    ("print('always the same')", "identical", set(), ""),
    # seeds that nobody set
    ("a = 1\nprint(random.random())", "different", {"random"}, "cell 3 line 2: print(random.random())"),
    ("drawn = np.random.rand()\nprint(drawn)", "different", {"random"}, "cell 4 line 1: drawn = np.random.rand()"),
    ("rng = np.random.default_rng()\nprint(rng.normal())", "different", {"random"},
     "cell 5 line 1: rng = np.random.default_rng()"),
    ("print(drawn + 1)", "different", {"random"}, "cell 4 line 1: drawn = np.random.rand()"),
    ("uuid.uuid4().hex[:12]", "different", {"random"}, "cell 7 line 1: uuid.uuid4().hex[:12]"),
    ("os.urandom(8)", "different", {"random"}, "cell 8 line 1: os.urandom(8)"),
    ("secrets.token_hex(8)", "different", {"random"}, "cell 9 line 1: secrets.token_hex(8)"),
    ("cards = list(range(52))\nrandom.shuffle(cards)\nprint(cards)", "different", {"random"},
     "cell 10 line 2: random.shuffle(cards)"),
    ("print(np.random.RandomState().randint(1 << 30))", "different", {"random"},
     "cell 11 line 1: print(np.random.RandomState().randint(1 << 30))"),
    ("def draw():\n    return random.gauss(0, 1)\nprint(draw())", "different", {"random"},
     "cell 12 line 2: return random.gauss(0, 1)"),
    ("print('loss:', random.random() + 1)", "different", {"random"},
     "cell 13 line 1: print('loss:', random.random() + 1)"),
    ("with open('random.csv', 'w') as file:\n    file.write(f'a,b\\n1,{random.random()}\\n')", "different", {"random"},
     "cell 14 line 2: file.write(f'a,b\\n1,{random.random()}\\n')"),
    ("from IPython.display import HTML\nHTML(f'<b>{random.random()}</b>')", "different", {"random"},
     "cell 15 line 2: HTML(f'<b>{random.random()}</b>')"),
    ("print(1 + random.random() * 1e-9)", "close", {"random"}, "cell 16 line 1: print(1 + random.random() * 1e-9)"),
    ("print(os.path.basename(tempfile.mkdtemp(dir='/home/nbseal', prefix='run-')))", "different", {"random"},
     "cell 17 line 1: print(os.path.basename(tempfile.mkdtemp(dir='/home/nbseal', prefix='run-')))"),
    ("random.seed()\nprint(random.random())", "different", {"random"}, "cell 18 line 1: random.seed()"),
    ("random.seed(7)\nnp.random.seed(7)\nprint(random.random(), np.random.rand())", "identical", set(), ""),
    ("random.seed()", "identical", set(), ""),
    # the clock
    ("print(datetime.datetime.now())", "different", {"clock"}, "cell 21 line 1: print(datetime.datetime.now())"),
    ("print(int(time.time() * 1000) % 100000)", "different", {"clock"},
     "cell 22 line 1: print(int(time.time() * 1000) % 100000)"),
    ("print(time.ctime())", "different", {"clock"}, "cell 23 line 1: print(time.ctime())"),
    ("!date +%N", "different", {"clock"}, ""),
    ("random.seed(time.time())\nprint(random.random())", "different", {"clock"},
     "cell 25 line 1: random.seed(time.time())"),
    ("logging.basicConfig(format='%(asctime)s %(message)s')\nlogging.warning('careful')", "different", {"clock"},
     "cell 26 line 2: logging.warning('careful')"),
    ("with open('stamp.txt', 'w') as file:\n    file.write(str(datetime.datetime.now()))", "different", {"clock"},
     "cell 27 line 2: file.write(str(datetime.datetime.now()))"),
    ("HTML(f'<i>{time.time_ns()}</i>')", "different", {"clock"}, "cell 28 line 1: HTML(f'<i>{time.time_ns()}</i>')"),
    ("print(np.datetime64('now'))", "different", {"clock"}, "cell 29 line 1: print(np.datetime64('now'))"),
    ("began = time.time()\nprint(sum(range(100000)), (time.time() - began) * 1e6)", "different", {"clock"},
     "cell 30 line 1: began = time.time()"),
    # both
    ("print(time.time_ns(), os.urandom(4))", "different", {"clock", "random"}, ""),
    # threads: a library that takes its number of threads from where numeric ones do, and whose order is a race
    ("import time\nfinished = []\n"
     "def work(number):\n"
     "    time.sleep((time.perf_counter_ns() // 1000 * (number + 1)) % 11 / 1000)\n"
     "    finished.append(number)\n"
     "if int(os.environ['OMP_NUM_THREADS']) > 1:\n"
     "    team = [threading.Thread(target=work, args=(number,)) for number in range(12)]\n"
     "    for thread in team: thread.start()\n"
     "    for thread in team: thread.join()\n"
     "print(finished)", "different", {"threads"}, ""),
    # nothing that can be held
    ("print(open('/proc/sys/kernel/random/uuid').read())", "different", {"unexplained"}, ""),
    ("print(time.perf_counter_ns() % 1000000)", "different", {"unexplained"}, ""),
    # what needs no cause
    ("object()", "equivalent", set(), ""),
    ("print(f'took {time.perf_counter_ns() % 977 / 100:.2f} s')", "equivalent", set(), ""),
)  # fmt: skip

#: A cell, what its own notebook holds for it, and the cause of the difference.
STILL: tuple[tuple[str, str, str], ...] = (
    (_IMPORTS, "", ""),
    ("print(1)", "1\n", ""),
    ("print(2)", "3\n", "unexplained"),
    ("print(list({'alpha', 'beta', 'gamma', 'delta', 'epsilon'}))", "['delta', 'beta']\n", "hash-order"),
    ("print(hash('nbseal'))", "123\n", "hash-order"),
    ("print(''.join({'p', 'q', 'r', 's', 't', 'u'}))", "pqrstu-\n", "hash-order"),
    ("print(sorted(['north', 'east', 'south', 'west'], key=hash))", "[]\n", "hash-order"),
    ("import getpass\nprint(getpass.getuser())", "alice\n", "identity"),
    ("print(socket.gethostname())", "alices-laptop\n", "identity"),
    ("print(os.path.expanduser('~/data'))", "/home/alice/data\n", "identity"),
    ("import platform\nprint(platform.node())", "alices-laptop\n", "identity"),
    ("import pwd\nprint(pwd.getpwuid(os.getuid()).pw_name)", "alice\n", "identity"),
    ("print(datetime.date.today().year)", "2019\n", "clock"),
    ("print(datetime.date.today().strftime('%Y-%m'))", "2019-05\n", "clock"),
    ("print(os.environ['OMP_NUM_THREADS'])", "16\n", "threads"),
    ("from numpy._core._multiarray_umath import __cpu_features__ as features\nprint(features['X86_V3'])",
     "Maybe\n", "hardware"),
    ("wave = np.sin(np.arange(100001, dtype=np.float32))\nprint(repr(wave @ wave))",
     "np.float32(50000.1)\n", "hardware"),
    ("import hashlib\nwave = np.exp(np.linspace(-9, 9, 10001, dtype=np.float32))\n"
     "print(hashlib.sha256(wave.tobytes()).hexdigest())", "e3b0c442\n", "hardware"),
    ("import urllib.request\ntry:\n    print(urllib.request.urlopen('http://example.org').status)\n"
     "except OSError as error:\n    print(type(error).__name__)", "200\n", "network"),
    ("try:\n    print(socket.gethostbyname('example.org'))\nexcept OSError:\n    print('nobody')", "192.0.2.1\n",
     "network"),
)  # fmt: skip


def _run(nbseal: Nbseal, path: Path) -> dict[str, Any]:
    return record_of(nbseal("run", path, "--requirement", "numpy", "--json"))


def _cells_of(causes: list[dict[str, Any]]) -> dict[int, set[str]]:
    kinds: dict[int, set[str]] = {}
    for cause in causes:
        kinds.setdefault(cause["cell"], set()).add(cause["kind"])
    return kinds


def test_what_moves(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook(*(cell for cell, *_ in MOVING))
    run = _run(nbseal, path)
    found = record_of(nbseal("verify", run["id"], "--diagnose", "--json"), code=4)

    verdicts: dict[int, str] = {}
    for item in found["differences"]:
        if item["where"].startswith("cell "):
            verdicts[int(item["where"].split()[1])] = item["verdict"]
    causes = _cells_of(found["causes"])
    enters = {(cause["cell"], cause["kind"]): cause["enters"] for cause in found["causes"]}
    wrong = []
    for number, (cell, verdict, kinds, line) in enumerate(MOVING, 1):
        written = "open(" in cell and "w'" in cell  # its unit is the file
        if not written and verdicts.get(number, "identical") != verdict:
            wrong.append(f"{cell!r} is {verdicts.get(number, 'identical')}, not {verdict}")
        if causes.get(number, set()) != kinds:
            wrong.append(f"{cell!r} has the causes {causes.get(number)}, not {kinds}")
        if line and enters.get((number, *kinds)) != line:
            wrong.append(f"{cell!r} enters at {enters.get((number, *kinds))}, not {line}")
    assert not wrong, "\n".join(wrong)

    files = {cause["unit"]: cause["kind"] for cause in found["causes"] if cause["unit"].startswith("file ")}
    assert files == {"file random.csv": "random", "file stamp.txt": "clock"}
    assert next(cause["kind"] for cause in found["causes"] if cause["unit"] == "scalar loss") == "random"
    names = [item["name"] for item in found["experiments"]]
    assert names[:3] == ["plain", "held", "held"]
    assert names[-1] == "held"
    assert not {"elsewhere", "one thread"} & set(names)  # everything moved already between the two runs

    # Experiments are runs that can be looked at, and do not stand in the way.
    assert len(json.loads(nbseal("runs", "--json").stdout)) == 2
    everything = json.loads(nbseal("runs", "--all", "--json").stdout)
    assert len(everything) == 2 + len(found["experiments"])
    shown = nbseal("show", found["experiments"][1]["run"]).stdout
    assert f"the diagnosis of {run['id']}: held" in shown
    assert "clock, frameworks, seeds" in shown


def test_what_stays_and_yet_is_not_what_the_notebook_holds(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook(*(cell for cell, *_ in STILL))
    document = json.loads(path.read_text())
    for cell, (_, stored, _) in zip(document["cells"], STILL, strict=True):
        if stored:
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": stored}]
    path.write_text(json.dumps(document))
    run = _run(nbseal, path)
    found = record_of(nbseal("verify", run["id"], "--stored", "--diagnose", "--json"), code=4)
    causes = _cells_of(found["causes"])
    wrong = [
        f"{cell!r} has the causes {causes.get(number)}, not {kind}"
        for number, (cell, _, kind) in enumerate(STILL, 1)
        if causes.get(number, set()) != ({kind} if kind else set())
    ]
    assert not wrong, "\n".join(wrong)


def test_a_deterministic_run_is_repeated_to_the_byte(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    holdable = [cell for cell, _, kinds, _ in MOVING if not kinds & {"threads", "unexplained"} and "took" not in cell]
    path = notebook(*(cell for cell in holdable if cell != "object()"))
    run = record_of(nbseal("run", path, "--deterministic", "--requirement", "numpy", "--json"))
    plain = _run(nbseal, path)
    assert run["hash"] != plain["hash"]
    assert record_of(nbseal("rerun", run["id"], "--exact", "--json"))["verdict"] == "identical"
    assert "held      clock, frameworks, seeds" in nbseal("show", run["id"]).stdout


def test_coins_and_helpers(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    coins = ["import random\nprint(random.random() < 0.5)  # coin"] * 6
    path = notebook(
        "import os, random, time, urllib.request\n"
        "def stamp():\n    return time.time_ns()\n"
        "def save(text):\n    with open('saved.txt', 'w') as file:\n        file.write(text)\n"
        "def get():\n    return urllib.request.urlopen('http://example.org').read()",
        *coins,
        "a = stamp()\nprint(a)",
        "save(str(random.random()))",
        "try:\n    get()\nexcept OSError:\n    pass\nprint(random.random())",
        "trace = '/run/nbseal/trace.jsonl'\nif os.path.exists(trace):\n    os.remove(trace)\n    os.mkdir(trace)\n"
        "print(random.random())",
        "print('after')",
    )
    run = record_of(nbseal("run", path, "--json"))
    found = record_of(nbseal("verify", run["id"], "--diagnose", "--json"), code=4)
    kinds: dict[str, set[str]] = {}
    for cause in found["causes"]:
        kinds.setdefault(cause["unit"], set()).add(cause["kind"])
    flipped = {unit: kinds.pop(unit) for unit in list(kinds) if unit in {f"cell {n} stdout" for n in range(2, 8)}}
    # Three rounds find a coin seven times of eight; nothing else may be blamed.
    assert all(causes <= {"random", "unexplained"} for causes in flipped.values())
    assert kinds == {
        "cell 8 stdout": {"clock"},
        "cell 10 stdout": {"random"},
        "cell 11 stdout": {"random"},
        "file saved.txt": {"random"},
    }


def test_held_clocks_let_waiting_end(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook(
        "import asyncio, queue, threading, time\n"
        "def lasts(wait):\n    began = time.time()\n    while time.time() < began + 2: wait()\n"
        "    print(round(time.time() - began, 3))",
        "never = threading.Event()\nlasts(lambda: never.wait(0.25))",
        "lasts(lambda: time.sleep(0.1))",
        "end = time.time() + 1\nwhile time.time() < end: await asyncio.sleep(0.05)",
        "def work():\n    lasts(lambda: time.sleep(0.05))\nthread = threading.Thread(target=work)\n"
        "thread.start(); thread.join()",
    )
    run = record_of(nbseal("run", path, "--deterministic", "--timeout", "60", "--json"))
    assert run["status"] == "completed"
    assert run["outcome"]["duration"] < 30
    assert record_of(nbseal("rerun", run["id"], "--exact", "--json"))["verdict"] == "identical"


def test_ctrl_c_keeps_what_was_found(nbseal: Nbseal, notebook: MakeNotebook, fresh_home: Home) -> None:
    path = notebook("import random, time\ntime.sleep(2)\nprint(random.random())")
    run = record_of(nbseal("run", path, "--json"))
    assert nbseal("rerun", run["id"]).returncode == 4
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "verify", run["id"], "--diagnose", "--json"],
        env={**os.environ, "NBSEAL_HOME": str(fresh_home.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "experiment: plain" not in process.stderr.readline():
        pass
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    found = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 130
    assert found["experiments"][0]["name"] == "plain"
    assert [cause["kind"] for cause in found["causes"]] == ["unexplained"]


def test_a_budget_ends_the_experiments(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook("import random, time\ntime.sleep(3)\nprint(random.random())")
    run = record_of(nbseal("run", path, "--json"))
    assert nbseal("rerun", run["id"]).returncode == 4
    called = nbseal("verify", run["id"], "--diagnose", "--budget", "8", "--json")
    found = record_of(called, code=4)
    # Each takes more than three seconds; on a busy machine there is time for none.
    assert len(found["experiments"]) <= 2
    assert "The budget " in called.stderr
    assert [(cause["cell"], cause["kind"]) for cause in found["causes"]] == [(1, "unexplained")]
    assert re.search("not every experiment could be made|no experiment was made", found["causes"][0]["evidence"])

    alone = record_of(nbseal("run", notebook("import time\ntime.sleep(3)", name="alone.ipynb"), "--json"))
    refused = nbseal("verify", alone["id"], "--diagnose", "--budget", "2")
    assert refused.returncode == 2
    assert "seconds, and the budget is 2." in refused.stderr


def test_a_run_that_fails_without_the_network(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook(
        "import urllib.request\npage = urllib.request.urlopen('http://example.org').read()", "print(len(page))"
    )
    document = json.loads(path.read_text())
    document["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1256\n"}]
    path.write_text(json.dumps(document))
    run = record_of(nbseal("run", path, "--json"), code=1)
    found = record_of(nbseal("verify", run["id"], "--stored", "--diagnose", "--json"), code=4)
    kinds = {cause["unit"]: cause["kind"] for cause in found["causes"]}
    assert set(kinds.values()) == {"network"}
    assert "cell 2 stdout" in kinds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "5"), "--budget bounds the experiments of --diagnose"),
        (("--diagnose", "--budget", "nan"), "Invalid value for '--budget'"),
        (("--diagnose", "--budget", "inf"), "A budget of inf seconds is none"),
        (("--diagnose", "--budget", "0"), "Invalid value for '--budget'"),
    ],
)
def test_wrong_words(nbseal: Nbseal, arguments: tuple[str, ...], message: str) -> None:
    called = nbseal("verify", "abc", *arguments)
    assert called.returncode == 2
    assert message in called.stderr


def test_holding_the_clock_makes_no_stack_executable(nbseal: Nbseal, notebook: MakeNotebook) -> None:
    path = notebook(
        "maps = open('/proc/self/maps').readlines()\nprint(next(line for line in maps if '[stack]' in line).split()[1])"
    )
    run = record_of(nbseal("run", path, "--deterministic", "--json"))
    assert nbseal("logs", run["id"]).stdout == "rw-p\n"
