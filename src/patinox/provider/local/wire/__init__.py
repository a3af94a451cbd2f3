"""Bytes in, values out: framing and decoding without any I/O."""
