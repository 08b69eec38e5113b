"""Output in a terminal: colours stay, commands do not."""

import re
import time

import pytest
from executed_builders import code, display, error, executed, stream
from hypothesis import example, given
from hypothesis import strategies as st

from engine.results import clean_text, text_log
from engine.results.text import strip_escapes

SGR = re.compile("\x1b\\[[0-9;:]*m")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain é \u2028 text\n\t.", "plain é \u2028 text\n\t."),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;2;1;2;3mred", "\x1b[38;2;1;2;3mred\x1b[0m"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;Y2xpcA==\x9ctext", "text"),
        ("\x1b]0;never ends", "0;never ends"),
        ("\x1bP+q544e\x1b\\text", "text"),
        ("\x9b31mtext\x9d0;t\x07.", "text."),
        ("\x1b[?1049h\x1b[>0c\x1b[6n\x1bc\x1b(0text", "text"),
        ("a\x08\x08b\x07\x00\x7f", "ab"),
        ("10%\r20%\r30%\ndone\r\n", "30%\ndone\n"),
        ("10%\r", "10%"),
        ("\x1b[\x1b[31mx", "\x1b[31mx\x1b[0m"),
        ("\x1b", ""),
        ("\ud800x", "\ufffdx"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


PIECES = st.sampled_from(
    ["\x1b", "[", "]", "\x9b", "\x9d", "\x07", "\x1b\\", "\x9c", "m", "0", ";", "31", "H", "?", "P", "\r", "\n", "text"]
)


@given(st.lists(PIECES | st.text(st.characters(), max_size=3)).map("".join))
@example("\x1b[0" + "\x1b[31m" + "m")
def test_no_escape_but_colours_survives(text: str) -> None:
    cleaned = clean_text(text)
    rest = SGR.sub("", cleaned)
    assert not [char for char in rest if (ord(char) < 0x20 and char not in "\n\t") or 0x7F <= ord(char) < 0xA0]
    cleaned.encode()
    assert clean_text(cleaned) == cleaned
    colours = SGR.findall(cleaned)
    assert not colours or colours[-1] in ("\x1b[0m", "\x1b[m")
    assert "\x1b" not in strip_escapes(text)


@pytest.mark.parametrize(
    "piece", ["\x1b", "\x1b[", "\x1b]", "\x9d", "\x9b", "\x1b[0;", "\x1b]\x9b0", "\r", "\x1bP\x90", "\x1b]a"]
)
def test_takes_linear_time(piece: str) -> None:
    began = time.process_time()
    clean_text(piece * (2_000_000 // len(piece)))
    assert time.process_time() - began < 5


def test_log() -> None:
    document = executed(
        code(stream("a"), stream("b\n"), display({"text/plain": "7"}, kind="execute_result")),
        {"cell_type": "markdown", "metadata": {}, "source": "no output"},
        code(stream("no newline"), error("Traceback", "ValueError: bad")),
        code(display({"image/png": "x"})),
        code(stream("last")),
    )
    assert text_log(document) == "ab\n7\nno newline\nTraceback\nValueError: bad\nlast\n"
