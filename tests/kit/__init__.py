"""What tests of the real process share: the proxy itself, SIPp, a lossy path, a plain SIP peer."""
