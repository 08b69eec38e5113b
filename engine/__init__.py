"""nbseal: run a notebook sealed in a container, record it under a hash, rerun it years later."""

__version__ = "0.1.0"
