"""What operators see: metrics pulled at scrape, one log line per call, health over HTTP."""
