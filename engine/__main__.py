"""``nbseal`` and ``python -m engine``: the one error boundary."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command line and exit with a code of docs/reference/exit-codes.md."""
    _read_names_as_utf8()
    sys.exit(_run())


def _read_names_as_utf8() -> None:
    """Start again in UTF-8 mode (PEP 540) where the locale reads file names otherwise: it would move the hash."""
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def _run() -> int:
    _make_streams_usable()
    try:
        import typer
        from typer.exceptions import TyperException

        from engine.cli import terminal
        from engine.cli.commands import app
        from engine.cli.terminal import complain
        from engine.errors import NbsealError
    except KeyboardInterrupt:
        return 130

    try:
        result = app(standalone_mode=False)
        if result == 130 and not terminal.complained:
            complain("Interrupted.")  # typer takes the exception and leaves its exit code
        return result if isinstance(result, int) else 0
    except NbsealError as error:
        complain(error.message, error.hint)
        return error.exit_code
    except typer.Exit as error:
        return error.exit_code
    except TyperException as error:
        if error.format_message().startswith("Usage:"):  # called without arguments
            terminal.say(error.format_message())
            return 2
        complain(error.format_message(), "Add --help to the command to see what it takes.")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain("Interrupted.")
        return 130
    except BrokenPipeError:
        # The reader of our output went away (as `nbseal runs | head` does); that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if type(error).__module__.startswith("requests."):  # the engine's client; its errors are OSErrors
            complain("The container engine stopped answering.", "`nbseal doctor` checks it.")
            return 3
        where = f": {error.filename}" if error.filename else ""
        complain(f"{error.strerror or error}{where}.", "Check the path, its permissions and the free space.")
        return 2


def _make_streams_usable() -> None:
    """No stream may be missing (``>&-``), and text that a stream's encoding lacks is escaped rather than fatal."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
