"""`python -m edge_proxy` is the `edge-proxy` command."""

from edge_proxy.cli.app import main

main()
