"""`picket demo`: the whole job on real parts, on this machine. Uses the product as its users do: processes and the API."""
