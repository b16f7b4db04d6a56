"""Durable state: the interface that others see, and its SQL implementation. Never decides anything."""
