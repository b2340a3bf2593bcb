"""Sockets and the event loop: the thin shell around the pipeline."""
