"""The tamper-evident record of every attempt: encoded on the call path, kept through a crash, chained on disk."""
