"""A topology without where its sidecars stand: the same object while nothing but replicas come and go. Builds no configuration."""

from __future__ import annotations

from controlplane.topology.model import Topology


class Faces:
    """Remembers the topology that was asked for last. Safe to use from several threads."""

    def __init__(self) -> None:
        self._kept = (Topology(), Topology())

    def of(self, topology: Topology) -> Topology:
        """The topology of the services' faces. Faces that are equal to those of the last time are the same objects."""
        before, kept = self._kept
        if before is topology:
            return kept
        services = {}
        for name, service in topology.services.items():
            face = kept.services.get(name)
            if face is None or before.services[name] is not service:
                new = service.face
                face = face if face == new else new
            services[name] = face
        # The same faces in the same order: the order shows in listeners.
        same = len(services) == len(kept.services) and all(
            a is b for a, b in zip(services.values(), kept.services.values(), strict=True)
        )
        faced = kept if same else Topology(services)
        self._kept = topology, faced
        return faced
