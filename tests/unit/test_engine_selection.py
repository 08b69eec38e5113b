"""Which tests other engines are put to: each file of them is chosen, or left out with a reason."""

from pathlib import Path

from scripts.test_engines import LEFT_OUT, MODULES

ENGINE_TESTS = Path(__file__).parents[1] / "engine"


def test_every_file_is_chosen_or_left_out_with_a_reason() -> None:
    files = {path.stem.removeprefix("test_") for path in ENGINE_TESTS.glob("test_*.py")}
    assert files == {*MODULES, *LEFT_OUT}
    assert not set(MODULES) & set(LEFT_OUT)
    assert all(LEFT_OUT.values())
