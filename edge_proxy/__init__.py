"""edge_proxy: a SIP edge proxy that checks who may call as whom, and keeps the evidence."""
