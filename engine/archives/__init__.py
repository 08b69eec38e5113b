"""Runs become one file that anybody can check, and that a home can take in."""
