"""Labelled INVITEs: who sends what, and the verdict that a person who knows the rules gives (see calls.py)."""
