"""Text that a notebook printed, made safe for a terminal."""

from __future__ import annotations

import re

from engine.model import Json
from engine.results.executed import cell_outputs, valid_text

#: ECMA-48 (5th edition): a colour (SGR), or anything else that a terminal takes for a command, then
#: single control characters. The strings OSC, DCS, SOS, PM and APC end with ST or, as xterm has it,
#: BEL; one that does not end loses only its introducer, so that it cannot swallow what follows.
_CONTROL = re.compile(
    "(?P<colour>\x1b\\[[0-9;:]{0,64}m)"
    "|(?:\x1b[]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x80-\x9f]{0,65536}(?:\x07|\x1b\\\\|\x9c)"
    "|(?:\x1b\\[|\x9b)[0-?]{0,256}[ -/]{0,256}[@-~]"
    "|\x1b[ -/]{0,16}[0-~]?"
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
_RESET = "\x1b[0m"
_ENDS_COLOUR = ("\x1b[0m", "\x1b[m")


def clean_text(text: str) -> str:
    """``text`` with colours (SGR) and without every other escape and control character but newline and tab.

    Output could otherwise move the cursor over what we printed, set the window's title or fill the
    clipboard. A carriage return leaves the last thing that was written on its line, as progress
    bars mean it. Colours end with the text.
    """
    colour = ""

    def keep(match: re.Match[str]) -> str:
        nonlocal colour
        if match["colour"]:
            colour = match["colour"]
            return colour
        return ""

    cleaned = _CONTROL.sub(keep, valid_text(overwritten(text)))
    return cleaned if colour in ("", *_ENDS_COLOUR) else cleaned + _RESET


def strip_escapes(text: str) -> str:
    """``text`` without any escape sequence or control character but newline and tab."""
    return _CONTROL.sub("", text)


def overwritten(text: str) -> str:
    """Lines as they stand after carriage returns: the last piece of each that is not empty."""
    if "\r" not in text:
        return text
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join(lines)


def text_log(document: Json) -> str:
    """What the cells of a document from ``read_executed`` printed, in order; hostile until ``clean_text``.

    Streams, the text/plain of results and displays, and tracebacks; each output begins a line.
    """
    parts: list[str] = []
    for _, outputs in cell_outputs(document):
        for output in outputs:
            text = _as_text(output)
            joins = output["output_type"] == "stream"
            if parts and parts[-1] and not parts[-1].endswith("\n") and not joins:
                parts.append("\n")
            parts.append(text)
        if parts and not parts[-1].endswith("\n") and parts[-1]:
            parts.append("\n")
    return "".join(parts)


def _as_text(output: Json) -> str:
    if output["output_type"] == "stream":
        return str(output["text"])
    if output["output_type"] == "error":
        return "\n".join(output["traceback"]) + "\n"
    text = str(output["data"].get("text/plain", ""))
    return text if not text or text.endswith("\n") else text + "\n"
