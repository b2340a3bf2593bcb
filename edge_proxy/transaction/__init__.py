"""SIP transactions (RFC 3261 §17 as repaired by RFC 6026, RFC 4320 and RFC 3581)."""
