"""``nbseal`` and ``python -m engine``: the one error boundary."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and exit with a code of docs/reference/exit-codes.md."""
    sys.exit(_run())


def _run() -> int:
    import typer
    from typer.exceptions import TyperException

    from engine.cli.app import app
    from engine.cli.terminal import complain
    from engine.errors import NbsealError

    try:
        result = app(standalone_mode=False)
        return result if isinstance(result, int) else 0
    except NbsealError as error:
        complain(error.message, error.hint)
        return error.exit_code
    except typer.Exit as error:
        return error.exit_code
    except TyperException as error:
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
        where = f": {error.filename}" if error.filename else ""
        complain(f"{error.strerror or error}{where}.", "Check the path, its permissions and the free space.")
        return 2


if __name__ == "__main__":
    main()
