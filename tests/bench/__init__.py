"""`make bench`: what a call costs here, beside a forwarder that looks at nothing and Kamailio with like checks."""
