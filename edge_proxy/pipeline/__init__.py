"""The spine: a datagram and the time in; messages to send and evidence to keep, out."""
