"""Who exists: services, their ports and where they listen. Never says who may talk to whom."""
