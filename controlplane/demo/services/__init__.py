"""The demo's applications: small real servers and clients of real protocols, one process per service.

They know nothing of the mesh: they listen, dial what they are told to dial, and count what reached them.
"""
