"""Bytes to SIP messages and back (RFC 3261 §7, §25): the only grammar in the product."""
