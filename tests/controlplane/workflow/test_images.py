"""Which image a source runs: by where a call came from, or by what all of its replicas say."""

from __future__ import annotations

from controlplane.store.stored import SidecarRow
from controlplane.workflow.images import SourceImages
from tests.harness.plane import Plane
from tests.harness.plane import plane as make_plane

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64


def row(instance: str, digest: str, address: str = "", *, connected: bool = True, since_ms: int = 0) -> SidecarRow:
    return SidecarRow("shop/web", instance, connected, since_ms, image_digest=digest, address=address)


def known(plane: Plane, *rows: SidecarRow) -> SourceImages:
    for each in rows:
        plane.sidecar(each)
    found = SourceImages(plane.store)
    found.look()
    return found


def test_a_replica_is_known_by_its_instance_and_its_address() -> None:
    with make_plane() as plane:
        images = known(plane, row("web-0", OLD, "10.0.0.1"), row("web-1", NEW, "10.0.0.2"))
        assert [images.of("shop/web", place) for place in ("web-0", "10.0.0.2", "10.0.0.9", "")] == [OLD, NEW, "", ""]
        assert images.of("shop/cart", "10.0.0.1") == ""


def test_where_all_replicas_say_the_same_no_place_is_needed() -> None:
    with make_plane() as plane:
        gone = row("web-9", OLD, "10.0.0.2", connected=False)
        images = known(plane, gone, row("web-0", NEW, "10.0.0.2"), row("web-1", NEW), row("web-2", ""))
        assert [images.of("shop/web", place) for place in ("", "10.0.0.2", "web-9")] == [NEW, NEW, OLD]
