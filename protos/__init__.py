"""The messages on the wire: generated code, and what both sides need to read them."""
