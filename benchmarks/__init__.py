"""Measurements, not tests: ``make bench`` runs them all and prints ratios that were measured side by side."""
