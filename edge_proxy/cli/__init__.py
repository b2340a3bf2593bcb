"""The edge-proxy command: stdout is for results, stderr for logs and errors."""
