"""Where a message goes and how it is changed on the way (RFC 3261 §16.4 to §16.7)."""
