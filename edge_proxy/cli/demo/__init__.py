"""`edge-proxy demo`: the real proxy, driven over loopback by peers in other processes, and checked at the end."""
