"""Inputs made at random, for as long as somebody lets them run."""
