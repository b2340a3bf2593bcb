"""Facts in, an explained verdict out: pure functions, the same for live calls and for `explain`."""
