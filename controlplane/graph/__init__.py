"""The service graph: what was learned, and how it differs from what is approved. networkx for algorithms; never I/O."""
