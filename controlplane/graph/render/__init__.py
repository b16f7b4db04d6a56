"""The graph as text in the formats that people ask for. Pure: no external program, no file; the same graph gives the same text."""
