"""Executing notebooks in real containers: what is sealed, how it ends, and that nothing is left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from docker.errors import NotFound
from nbformat.v4 import new_code_cell, new_notebook

from engine import containers, daemon
from engine.errors import BadInput, EngineUnavailable
from engine.link import Link
from engine.model import Input, Json, Limits, Outcome

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

FOREVER = "import time\nprint('at work', flush=True)\nwhile True:\n    time.sleep(0.1)"
STUBBORN = (
    "import time\nprint('at work', flush=True)\n"
    "while True:\n    try:\n        time.sleep(0.1)\n    except KeyboardInterrupt:\n        print('never', flush=True)"
)


@dataclass
class Run:
    """One execution, with everything that a test looks at."""

    folder: Path
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    events: list[Json] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome(status="running"))

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def cells(self) -> Any:
        document = nbformat.read(self.spool / "executed.ipynb", as_version=4)
        nbformat.validate(document)
        return document.cells

    def text(self, cell: int = 0) -> str:
        """What a cell printed to stdout."""
        return "".join(output.text for output in self.cells[cell].outputs if output.get("name") == "stdout")

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


def prepare(folder: Path, *cells: Any) -> Run:
    """The folders of a run; a cell is its source, or (source, tags)."""
    run = Run(folder / uuid.uuid4().hex[:8])
    run.project.mkdir(parents=True)
    run.spool.mkdir()
    pairs = [(cell, []) if isinstance(cell, str) else cell for cell in cells]
    document = new_notebook(
        cells=[new_code_cell(source, id=f"c{i}", metadata={"tags": tags}) for i, (source, tags) in enumerate(pairs)]
    )
    (run.spool / "notebook.ipynb").write_text(nbformat.writes(document), encoding="utf-8")
    return run


def start(run: Run, engine: daemon.Engine, image: str, on_event: Any = None, **options: Any) -> Run:
    """Execute a prepared run; ``options`` are limits, or parameters of ``execute``."""

    def note(event: Json) -> None:
        run.events.append(event)
        if on_event is not None:
            on_event(event)

    known = {name: options.pop(name) for name in ("directory", "inputs", "network") if name in options}
    launch = replace(launch_of(run.id, image), limits=Limits(**options), **known)
    run.outcome = containers.execute(Link(), launch, run.project, run.spool, note, print)
    return run


def launch_of(run: str, image: str) -> containers.Launch:
    return containers.Launch(run, "0" * 16, image, ".", (), containers.environment(), False, Limits())


def given(target: str) -> Input:
    """An input of which only the target matters here."""
    return Input(target, "", 0, kept=False, path="")


def settle(run: Run, image: str, on_event: Any = lambda event: None) -> Outcome | None:
    """As the next command does it."""
    launch = launch_of(run.id, image)
    return containers.resume(Link(), launch, run.project, run.spool, on_event, print, wait=False)


def remove_container(engine: daemon.Engine, run: Run) -> None:
    with suppress(NotFound):
        engine.client.api.remove_container(f"nbseal-{run.id}", force=True)


def containers_of(engine: daemon.Engine, run: Run) -> list[Any]:
    return engine.client.api.containers(all=True, filters={"label": f"nbseal.run={run.id}"})


Execute = Callable[..., Run]


@pytest.fixture
def execute(engine: daemon.Engine, kernel_image: str, tmp_path: Path) -> Iterator[Execute]:
    """``execute("print(1)", ..., memory=...)``; afterwards no container of it may be left."""
    runs: list[Run] = []

    def call(*cells: Any, **options: Any) -> Run:
        runs.append(prepare(tmp_path, *cells))
        return start(runs[-1], engine, kernel_image, **options)

    yield call
    for run in runs:
        assert containers_of(engine, run) == []
        assert not (run.folder / "identity").exists()


# --- what is sealed ---------------------------------------------------------------------------

LOOK_AROUND = """
import getpass, grp, json, os, pwd, resource, socket, time

def refused(action):
    try:
        action()
    except OSError as error:
        return error.errno or str(error)
    return None

def lookup():
    began = time.time()
    try:
        socket.getaddrinfo("example.com", 80)
    except OSError:
        return time.time() - began

def write(path):
    with open(path, "w") as file:
        file.write("x")

status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "status": status,
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "pid": os.getpid(),
    "user": getpass.getuser(), "passwd": pwd.getpwuid(os.getuid())[0], "group": grp.getgrgid(os.getgid())[0],
    "host": socket.gethostname(), "own address": socket.gethostbyname(socket.gethostname()),
    "home": os.path.expanduser("~"), "folder": os.getcwd(), "environment": dict(os.environ),
    "interfaces": os.listdir("/sys/class/net"),
    "connect": refused(lambda: socket.create_connection(("192.0.2.1", 80), timeout=5)), "lookup": lookup(),
    "writable": [path for path in ("/", "/etc", "/opt/kernel", "/opt/harness", "/usr", "/var", "/run", "/root",
                                   "/etc/passwd", "/project", "/home/nbseal", "/tmp", "/dev/shm")
                 if not refused(lambda: write(path if path.endswith("passwd") else path + "/probe"))],
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "resolv": open("/etc/resolv.conf").read(),
    "socket": os.path.exists("/var/run/docker.sock"),
}))
"""


@pytest.fixture(scope="module")
def seen(engine: daemon.Engine, kernel_image: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a notebook sees of its surroundings, and the run."""
    run = start(prepare(tmp_path_factory.mktemp("look"), LOOK_AROUND), engine, kernel_image)
    assert run.outcome.status == "completed", run.outcome
    return json.loads(run.text()) | {"run": run}


def test_there_is_no_network(seen: Any) -> None:
    assert seen["interfaces"] == ["lo"]
    assert seen["connect"]
    assert seen["lookup"] < 2  # refused at once, not after a time-out
    assert "127.0.0.1" in seen["resolv"]


def test_only_the_project_and_memory_are_writable(seen: Any) -> None:
    assert seen["writable"] == ["/project", "/home/nbseal", "/tmp", "/dev/shm"]  # noqa: S108


def test_there_are_no_privileges(seen: Any) -> None:
    status = seen["status"]
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert seen["core"] == [0, 0]
    assert not seen["socket"]


def test_the_user_is_not_root_and_always_has_the_same_name(seen: Any) -> None:
    assert seen["uid"] != 0
    assert seen["gid"] != 0
    assert 0 not in seen["groups"]
    assert (seen["user"], seen["passwd"], seen["group"]) == ("nbseal", "nbseal", "nbseal")
    assert (seen["host"], seen["own address"]) == ("nbseal", "127.0.0.1")
    assert (seen["home"], seen["folder"]) == ("/home/nbseal", "/project")


def test_the_environment_is_the_fixed_one(seen: Any) -> None:
    # ipykernel and IPython add a handful of their own, which are constant.
    own = {name: value for name, value in seen["environment"].items() if name in containers.environment()}
    assert own == containers.environment()
    assert seen["environment"]["HOSTNAME"] == "nbseal"
    assert not [name for name in seen["environment"] if name.startswith(("JPY_", "DOCKER"))]


def test_the_kernel_always_has_the_same_process_id(seen: Any) -> None:
    assert seen["pid"] == 100


def test_the_container_is_as_sealed_as_it_says(engine: daemon.Engine, kernel_image: str, tmp_path: Path) -> None:
    """What the engine itself says about a container of ours while it runs."""
    details: list[Any] = []
    run = prepare(tmp_path, "print(1)")
    start(
        run,
        engine,
        kernel_image,
        on_event=lambda event: details.append(engine.client.api.inspect_container(f"nbseal-{run.id}")),
        memory=512 << 20,
        processes=200,
    )
    host = details[0]["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["NetworkMode"] == "none"
    assert host["Memory"] == host["MemorySwap"] == 512 << 20
    assert host["PidsLimit"] == 200
    assert host["ShmSize"] == 1 << 30
    assert host["Init"]
    writable = {mount["Destination"] for mount in details[0]["Mounts"] if mount["RW"]}
    assert writable == {"/project", "/run/nbseal"}


def test_a_network_is_there_when_asked_for(execute: Execute) -> None:
    run = execute("import os\nprint(sorted(os.listdir('/sys/class/net')))", network=True)
    assert run.text().strip() == "['eth0', 'lo']"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_caller_runs_with_its_own_id(engine: daemon.Engine, kernel_image: str) -> None:
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    group = Path(address).stat().st_gid
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(Path(folder), "import getpass, os\nopen('out', 'w')\nprint(os.getuid(), getpass.getuser())")
        for path in (folder, run.folder, run.project, run.spool, run.spool / "notebook.ipynb"):
            os.chown(path, 23456, 23456)

        def as_another() -> None:
            os.setgroups([group])
            os.setgid(23456)
            os.setuid(23456)
            start(run, daemon.connect(), kernel_image)
            (run.folder / "outcome.json").write_text(json.dumps(asdict(run.outcome)))

        process = multiprocessing.get_context("fork").Process(target=as_another)
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert json.loads((run.folder / "outcome.json").read_text())["status"] == "completed"
        assert run.text() == "23456 nbseal\n"
        assert (run.project / "out").stat().st_uid == 23456


def test_everything_belongs_to_the_caller_afterwards(execute: Execute) -> None:
    run = execute("import os\nos.makedirs('deep/er')\nopen('deep/er/file', 'w')\nos.chmod('deep', 0)")
    assert {path.stat().st_uid for path in run.folder.rglob("*")} == {os.getuid()}
    assert (run.project / "deep/er/file").exists()


# --- what the notebook gets -------------------------------------------------------------------


def test_events_come_as_things_happen(execute: Execute) -> None:
    at: dict[str, float] = {}
    run = execute(
        "print('first', flush=True)\nimport time\ntime.sleep(2)",
        on_event=lambda event: at.setdefault(event["event"], time.monotonic()),
    )
    assert run.kinds() == ["started", "cell_started", "output", "cell_done", "finished"]
    assert at["cell_done"] - at["output"] > 1
    assert run.events[0]["cells"] == 1
    assert run.events[2]["output"] == {"output_type": "stream", "name": "stdout", "text": "first\n"}
    outcome = run.outcome
    assert (outcome.status, outcome.reason, outcome.limit, outcome.exit_code) == ("completed", "", "", 0)
    assert outcome.started < outcome.finished
    assert outcome.started.endswith("Z")
    assert outcome.duration > 2
    assert outcome.host["kernel"]
    assert outcome.host["engine"]


def test_the_notebook_starts_in_its_own_folder_and_imports_from_it(
    engine: daemon.Engine, kernel_image: str, tmp_path: Path
) -> None:
    run = prepare(tmp_path, "import os, helper\nprint(os.getcwd(), helper.VALUE)\nopen('out.txt', 'w').write('x')")
    (run.project / "sub").mkdir()
    (run.project / "sub/helper.py").write_text("VALUE = 42\n")
    start(run, engine, kernel_image, directory="sub")
    assert run.text() == "/project/sub 42\n"
    assert sorted(path.name for path in (run.project / "sub").iterdir()) == ["helper.py", "out.txt"]


def test_inputs_are_there_and_read_only(execute: Execute, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2\n")
    data.chmod(0o644)
    run = execute(
        "print(open('in/data.csv').read())\n"
        "try:\n    open('in/data.csv', 'w')\nexcept OSError as error:\n    print(error)",
        inputs=[(data, given("in/data.csv"))],
    )
    assert "1,2" in run.text()
    assert "Read-only" in run.text()
    assert data.read_text() == "1,2\n"
    assert list(run.project.iterdir()) == []


def test_identical_runs_give_identical_files(execute: Execute) -> None:
    cells = ["import sys\nfor i in range(200):\n    print(i)\n    print(-i, file=sys.stderr)", "import os\nos.getpid()"]
    one, two = execute(*cells), execute(*cells)
    assert (one.spool / "executed.ipynb").read_bytes() == (two.spool / "executed.ipynb").read_bytes()


def test_exit_handlers_run_and_open_files_are_written(execute: Execute) -> None:
    run = execute("import atexit\nfile = open('late', 'w')\nfile.write('x')\natexit.register(file.write, 'y')")
    assert (run.project / "late").read_text() == "xy"


def test_a_large_output_is_kept_whole_and_told_in_brief(execute: Execute) -> None:
    run = execute("for _ in range(50):\n    print(('x' * 99 + '\\n') * 10_000, end='')", "print('after')")
    assert run.outcome.status == "completed"
    assert len(run.text(0)) == 50_000_000
    assert run.text(1) == "after\n"
    assert (run.spool / "events.jsonl").stat().st_size < 10_000_000
    assert any(event["output"].get("output_type") == "stream" for event in run.events if event["event"] == "output")


def test_no_output_is_lost_when_it_comes_fast(execute: Execute) -> None:
    run = execute("for i in range(5000):\n    display(i)")
    assert [output.data["text/plain"] for output in run.cells[0].outputs] == [str(i) for i in range(5000)]


def test_a_display_of_an_earlier_cell_is_updated(execute: Execute) -> None:
    run = execute("handle = display('old', display_id=True)", "handle.update('new')")
    assert run.cells[0].outputs[0].data["text/plain"] == "'new'"


def test_comm_traffic_on_the_shell_channel_does_not_hang(execute: Execute) -> None:
    """What ipywidgets' Output does: each print inside is answered on the shell channel by the client."""
    widget = """
from comm import create_comm
state = {"_model_module": "@jupyter-widgets/output", "_model_name": "OutputModel", "outputs": [], "msg_id": ""}
widget = create_comm(target_name="jupyter.widget", data={"state": state, "buffer_paths": []})
"""
    inside = """
parent = get_ipython().kernel.get_parent()["header"]["msg_id"]
widget.send({"method": "update", "state": {"msg_id": parent}, "buffer_paths": []})
print("inside", flush=True)
widget.send({"method": "update", "state": {"msg_id": ""}, "buffer_paths": []})
print("outside")
"""
    run = execute(widget, *[inside] * 20, cell_timeout=20)
    assert run.outcome.status == "completed", run.outcome
    assert {run.text(cell) for cell in range(1, 21)} == {"outside\n"}
    assert run.outcome.duration < 30


def test_a_broken_comm_message_costs_only_itself(execute: Execute) -> None:
    run = execute("from comm import create_comm\ncreate_comm(target_name='jupyter.widget', data={})\nprint('on')")
    assert run.outcome.status == "completed"
    assert run.text() == "on\n"


# --- how it ends ------------------------------------------------------------------------------


def test_a_failing_cell_ends_the_notebook_and_keeps_what_was_before(execute: Execute) -> None:
    run = execute("print('before')", "1 / 0", "print('after')")
    outcome = run.outcome
    assert (outcome.status, outcome.limit, outcome.exit_code) == ("failed", "", 1)
    assert outcome.error is not None
    assert (outcome.error.cell, outcome.error.name, outcome.error.value) == (1, "ZeroDivisionError", "division by zero")
    assert "1 / 0" in outcome.error.traceback
    assert "\x1b" not in outcome.error.traceback
    assert run.text(0) == "before\n"
    assert run.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert run.cells[2].execution_count is None
    assert [event["status"] for event in run.events if event["event"] == "cell_done"] == ["ok", "error"]


def test_tags_are_honoured(execute: Execute) -> None:
    run = execute(("1 / 0", ["raises-exception"]), ("2 / 0", ["skip-execution"]), "print('on')")
    assert run.outcome.status == "completed"
    assert run.cells[0].outputs[0].ename == "ZeroDivisionError"
    assert run.cells[1].outputs == []
    assert [event["status"] for event in run.events if event["event"] == "cell_done"] == ["ok", "skipped", "ok"]


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("import sys\nsys.exit()", "completed"),
        ("import sys\nsys.exit(0)", "completed"),
        ("exit()", "completed"),
        ("import sys\nsys.exit(3)", "failed"),
        ("import sys\nsys.exit('no data')", "failed"),
    ],
)
def test_an_exit_ends_the_notebook(execute: Execute, source: str, status: str) -> None:
    run = execute("print('before')", source, "print('after')")
    assert run.outcome.status == status
    assert run.cells[2].outputs == []
    assert run.cells[2].execution_count is None


def test_standard_input_is_refused(execute: Execute) -> None:
    run = execute("input('name? ')", cell_timeout=20)
    assert run.outcome.error is not None
    assert run.outcome.error.name == "StdinNotImplementedError"


def test_a_cell_that_hangs_meets_its_time_limit(execute: Execute) -> None:
    run = execute("print('before')", FOREVER, "print('after')", cell_timeout=1)
    outcome = run.outcome
    assert (outcome.status, outcome.limit, outcome.error) == ("failed", "cell_timeout", None)
    assert outcome.reason == "Cell 2 took longer than 1 seconds."
    assert run.text(1) == "at work\n"
    assert run.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert outcome.duration < 15


def test_a_notebook_that_hangs_meets_its_time_limit(execute: Execute) -> None:
    run = execute("import time\ntime.sleep(1)", "time.sleep(1)", FOREVER, timeout=3, cell_timeout=60)
    assert (run.outcome.status, run.outcome.limit) == ("failed", "timeout")
    assert "3 seconds" in run.outcome.reason
    assert run.cells[2].outputs[-1].ename == "KeyboardInterrupt"


def test_a_cell_that_ignores_interrupts_is_killed(execute: Execute) -> None:
    run = execute(STUBBORN, cell_timeout=1)
    assert (run.outcome.status, run.outcome.limit) == ("failed", "cell_timeout")
    assert "never" in run.text()
    assert run.outcome.duration < 30


def test_a_kernel_that_exits_is_told_at_once(execute: Execute) -> None:
    run = execute("print('before')", "import os\nos._exit(3)", "print('after')")
    assert (run.outcome.status, run.outcome.limit, run.outcome.error) == ("failed", "", None)
    assert run.outcome.reason == "The kernel died in cell 2 (exit code 3)."
    assert run.text(0) == "before\n"


def test_a_kernel_that_crashes_says_how(execute: Execute) -> None:
    run = execute("print('before', flush=True)\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert run.outcome.reason == "The kernel died in cell 1 (killed by signal 11: segmentation fault)."


def test_memory_that_runs_out_names_the_limit(execute: Execute) -> None:
    run = execute("print('before')", "hog = []\nwhile True:\n    hog.append(bytearray(10_000_000))", memory=256 << 20)
    assert (run.outcome.status, run.outcome.limit) == ("failed", "memory")
    assert run.outcome.reason == "The kernel died in cell 2 (killed by signal 9: out of memory, limit 256 MiB)."
    assert run.text(0) == "before\n"


def test_memory_that_runs_out_in_a_child_names_the_limit(execute: Execute) -> None:
    hog = "hog = []\nwhile True: hog.append(bytearray(10_000_000))"
    run = execute(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {hog!r}], check=True)", memory=256 << 20
    )
    assert (run.outcome.status, run.outcome.limit) == ("failed", "memory")
    assert "limit 256 MiB" in run.outcome.reason
    assert run.outcome.error is not None
    assert run.outcome.error.name == "CalledProcessError"


def test_memory_file_systems_are_bounded_too(execute: Execute) -> None:
    run = execute("with open('/tmp/big', 'wb') as file:\n    file.write(bytes(400 << 20))", memory=256 << 20)
    assert run.outcome.status == "failed"


def test_a_work_tree_that_grows_too_large_is_stopped(execute: Execute) -> None:
    run = execute(
        "with open('big', 'wb') as file:\n    file.write(bytes(50 << 20))", FOREVER, work_tree=20 << 20, cell_timeout=60
    )
    assert (run.outcome.status, run.outcome.limit) == ("failed", "work_tree")
    assert run.outcome.reason == "The work tree grew over 20 MiB."
    assert run.text(1) == "at work\n"


def test_too_many_processes_are_refused(execute: Execute) -> None:
    run = execute(
        "import subprocess\nheld = []\ntry:\n    while True:\n        held.append(subprocess.Popen(['sleep', '60']))\n"
        "except OSError:\n    print(len(held) < 100)",
        processes=100,
    )
    assert run.text() == "True\n"
    assert run.outcome.duration < 60  # the children are not waited for


def test_a_notebook_that_kills_the_harness_is_a_failure(execute: Execute) -> None:
    run = execute("print('before')", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 137)
    assert run.text(0) == "before\n"


def test_forged_events_and_files_do_no_harm(execute: Execute, tmp_path: Path) -> None:
    forged = json.dumps({"event": "finished", "time": "", "status": "completed", "reason": "", "limit": ""})
    run = execute(
        "import os\n"
        "with open('/run/nbseal/events.jsonl', 'a') as file:\n"
        f"    file.write({forged!r} + '\\n' + 'x' * 5_000_000 + '\\n')\n"
        "os.remove('/run/nbseal/executed.ipynb')\nos.symlink('/etc/passwd', '/run/nbseal/log.txt')\n"
        "os.mkfifo('/project/fifo')\nos.symlink('/', '/project/root')",
        "1 / 0",
    )
    assert run.outcome.status == "failed"
    assert run.outcome.error is not None
    assert not (run.spool / "log.txt").is_symlink()
    assert stat.S_ISFIFO((run.project / "fifo").lstat().st_mode)
    assert Path("/etc/passwd").read_text().startswith("root:")


def test_what_the_container_prints_itself_is_kept_and_bounded(execute: Execute) -> None:
    run = execute(
        "import os\nfile = os.open('/proc/1/fd/2', os.O_WRONLY)\n"
        "for _ in range(3000):\n    os.write(file, b'y' * 999 + b'\\n')"
    )
    assert run.outcome.status in ("completed", "failed")
    assert (run.spool / "log.txt").stat().st_size <= 1 << 20


# --- stopped from outside ---------------------------------------------------------------------


def press_ctrl_c_on(text: str) -> Callable[[Json], None]:
    """Sends SIGINT to this process when a cell prints ``text``, once."""
    pressed: list[bool] = []

    def watch(event: Json) -> None:
        if not pressed and event["event"] == "output" and text in event["output"].get("text", ""):
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def test_ctrl_c_interrupts_saves_and_says_so(execute: Execute) -> None:
    run = execute("print('before')", FOREVER, "print('after')", on_event=press_ctrl_c_on("at work"))
    assert (run.outcome.status, run.outcome.exit_code) == ("interrupted", 130)
    assert run.outcome.reason == "The run was interrupted in cell 2."
    assert run.text(0) == "before\n"
    assert run.cells[1].outputs[-1].ename == "KeyboardInterrupt"
    assert run.events[-1]["event"] == "finished"


def test_a_second_ctrl_c_kills_the_container(execute: Execute) -> None:
    first, second = press_ctrl_c_on("at work"), press_ctrl_c_on("never")

    def both(event: Json) -> None:
        first(event)
        second(event)

    run = execute("print('before')", STUBBORN, on_event=both)
    assert (run.outcome.status, run.outcome.exit_code) == ("interrupted", 137)
    assert run.text(0) == "before\n"
    assert run.outcome.duration < 15


def test_two_ctrl_c_at_once_are_an_outcome_too(execute: Execute) -> None:
    def twice(event: Json) -> None:
        if event["event"] == "output" and "at work" in event["output"].get("text", ""):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    run = execute("print('before')", FOREVER, on_event=twice)
    assert run.outcome.status == "interrupted"
    assert run.text(0) == "before\n"


def test_ctrl_c_while_the_kernel_starts(execute: Execute) -> None:
    def at_once(event: Json) -> None:
        if event["event"] == "started":
            os.kill(os.getpid(), signal.SIGINT)

    run = execute(FOREVER, on_event=at_once)
    assert run.outcome.status == "interrupted"


def test_ctrl_c_is_the_callers_again_afterwards(execute: Execute) -> None:
    before = signal.getsignal(signal.SIGINT)
    execute("1")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_container_stopped_at_the_engine_is_interrupted(
    engine: daemon.Engine, kernel_image: str, tmp_path: Path
) -> None:
    run = prepare(tmp_path, FOREVER)

    def stop(event: Json) -> None:
        if event["event"] == "output" and "at work" in event["output"].get("text", ""):
            engine.client.api.kill(f"nbseal-{run.id}", signal="SIGTERM")

    start(run, engine, kernel_image, on_event=stop)
    assert run.outcome.status == "interrupted"
    assert run.cells[0].outputs[-1].ename == "KeyboardInterrupt"


def test_an_error_in_the_caller_leaves_no_container(engine: daemon.Engine, kernel_image: str, tmp_path: Path) -> None:
    run = prepare(tmp_path, FOREVER)

    def fail(event: Json) -> None:
        raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError):
        start(run, engine, kernel_image, on_event=fail)
    assert containers_of(engine, run) == []


def test_two_runs_at_once_do_not_meet(engine: daemon.Engine, kernel_image: str, tmp_path: Path) -> None:
    runs = [
        prepare(tmp_path, f"print({i})\nimport time\ntime.sleep(1)\nopen('out', 'w').write('{i}')") for i in range(2)
    ]
    threads = [threading.Thread(target=start, args=(run, daemon.connect(), kernel_image)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, run in enumerate(runs):
        assert run.outcome.status == "completed"
        assert run.text() == f"{number}\n"
        assert (run.project / "out").read_text() == str(number)


# --- when nothing can be executed -------------------------------------------------------------


def test_an_image_that_is_gone(engine: daemon.Engine, tmp_path: Path) -> None:
    run = prepare(tmp_path, "1")
    with pytest.raises(EngineUnavailable, match="image"):
        start(run, engine, "sha256:" + "0" * 64)
    assert containers_of(engine, run) == []
    assert not (run.folder / "identity").exists()


def test_an_input_that_cannot_be_mounted(engine: daemon.Engine, kernel_image: str, tmp_path: Path) -> None:
    run = prepare(tmp_path, "1")
    data = tmp_path / "data"
    data.touch(0o644)
    with pytest.raises(BadInput):
        start(run, engine, kernel_image, inputs=[(data, given("../data"))])
    assert containers_of(engine, run) == []


# --- when the host process dies ---------------------------------------------------------------

CALLER = """
import sys
from pathlib import Path
from engine import containers
from engine.link import Link
from tests.engine.test_execution import launch_of
folder, image, run_id = sys.argv[1:]
containers.execute(
    Link(), launch_of(run_id, image), Path(folder, "project"), Path(folder, "spool"),
    lambda event: print(event["event"], flush=True), print,
)
"""


def kill_caller(run: Run, image: str, after: str) -> None:
    """Execute in another process and kill it with SIGKILL when it has seen an event."""
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, str(run.folder), image, run.id], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == after:
                break
        process.kill()


def test_a_run_whose_process_was_killed_goes_on_and_is_settled(
    engine: daemon.Engine, kernel_image: str, tmp_path: Path
) -> None:
    run = prepare(
        tmp_path, "print('first', flush=True)\nimport time\ntime.sleep(3)\nopen('out', 'w').write('x')", "1 / 0"
    )
    kill_caller(run, kernel_image, after="output")
    assert settle(run, kernel_image) is None
    deadline = time.monotonic() + 60
    outcome = None
    while outcome is None and time.monotonic() < deadline:
        time.sleep(0.2)
        outcome = settle(run, kernel_image, run.events.append)
    assert outcome is not None
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error.name == "ZeroDivisionError"
    assert outcome.started < outcome.finished
    assert outcome.duration > 3
    assert outcome.host["kernel"]
    assert run.kinds()[0] == "started"
    assert run.kinds()[-1] == "finished"
    assert run.text(0) == "first\n"
    assert (run.project / "out").stat().st_uid == os.getuid()
    assert (run.spool / "log.txt").exists()
    assert containers_of(engine, run) == []
    assert not (run.folder / "identity").exists()
    # A second time it is still told from the spool.
    again = settle(run, kernel_image)
    assert again is not None
    assert again.status == "failed"


def test_a_run_whose_container_was_removed_is_lost(engine: daemon.Engine, kernel_image: str, tmp_path: Path) -> None:
    run = prepare(tmp_path, "print('before')", FOREVER)
    kill_caller(run, kernel_image, after="output")
    remove_container(engine, run)
    outcome = settle(run, kernel_image, run.events.append)
    assert outcome is not None
    assert outcome.status == "lost"
    assert outcome.reason
    assert run.text(0) == "before\n"


def test_a_run_that_never_had_a_container_is_lost(engine: daemon.Engine, kernel_image: str, tmp_path: Path) -> None:
    run = prepare(tmp_path, "1")
    outcome = settle(run, kernel_image, run.events.append)
    assert outcome is not None
    assert (outcome.status, run.events) == ("lost", [])
    remove_container(engine, run)
