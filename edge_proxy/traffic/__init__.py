"""Whose traffic it is: address ranges, autonomous systems, and bytes counted per ASN against the committed rate."""
