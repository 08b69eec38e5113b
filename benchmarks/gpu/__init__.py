"""What nbseal costs on a GPU; by hand, on a machine that has one: ``python -m benchmarks.gpu``."""
