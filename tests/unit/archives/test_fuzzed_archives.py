"""A short run of the fuzzer; `make fuzz` lets it go on for as long as one likes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.imports import Range


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Range:
    return Range(Path(tmp_path_factory.mktemp("fuzz")))


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=60)
def test_whatever_an_archive_is_it_is_refused_in_words_or_whole(field: Range, seed: int) -> None:
    assert field.shoot(Random(seed)) in ("taken in", "exit 2", "exit 4")  # noqa: S311
