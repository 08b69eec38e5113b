"""nbseal: run a notebook sealed in a container, record it under a hash, rerun it years later."""

import sys

__version__ = "0.1.0"

# jsonschema, which nbformat imports, builds the grammar of IRIs (RFC 3987) whenever the package for it is installed, as
# it is through nbdime: 1.6 s at every start, for a format that no schema of notebooks has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
