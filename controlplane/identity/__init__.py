"""Who a workload is: SPIFFE names, the built-in certificate authority, join tokens. Never opens a socket."""
