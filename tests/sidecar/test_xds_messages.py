"""The relay's own messages are Envoy's on the wire, and lose nothing that they do not name."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import Node as FullNode
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest as FullRequest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse as FullResponse
from hypothesis import given
from hypothesis import strategies as st

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

TEXT = st.text(max_size=20)


TEXTS = st.lists(TEXT, max_size=3)


@given(TEXT, TEXTS, TEXTS, st.dictionaries(TEXT, TEXT, max_size=3), TEXT, st.none() | TEXT)
def test_a_request_is_the_same_to_both(
    type_url: str, wanted: list[str], unwanted: list[str], versions: dict[str, str], nonce: str, error: str | None
) -> None:
    full = FullRequest(
        type_url=type_url, resource_names_subscribe=wanted, resource_names_unsubscribe=unwanted, initial_resource_versions=versions,
        response_nonce=nonce, node=FullNode(id="i", cluster="c", user_agent_name="envoy"),
    )  # fmt: skip
    full.node.extensions.add(name="x")
    full.node.user_agent_build_version.version.minor_number = 40
    full.resource_locators_subscribe.add(name="a locator")
    if error is not None:
        full.error_detail.message = error
    ours = DeltaDiscoveryRequest.FromString(full.SerializeToString())
    assert (list(ours.resource_names_subscribe), list(ours.resource_names_unsubscribe)) == (wanted, unwanted)
    assert (ours.type_url, dict(ours.initial_resource_versions), ours.response_nonce) == (type_url, versions, nonce)
    assert (ours.HasField("error_detail"), ours.error_detail.message) == (error is not None, error or "")
    assert ours.node.user_agent_build_version.version.minor_number == 40
    assert FullRequest.FromString(ours.SerializeToString()) == full


@given(TEXT, TEXT, st.dictionaries(TEXT, st.binary(max_size=50), max_size=3), st.lists(TEXT, max_size=3))
def test_a_response_is_the_same_to_both(type_url: str, nonce: str, resources: dict[str, bytes], removed: list[str]) -> None:
    full = FullResponse(type_url=type_url, nonce=nonce, removed_resources=removed, system_version_info="7")
    full.control_plane.identifier = "picket"
    for name, body in resources.items():
        resource = full.resources.add(name=name, version="1", aliases=["other"])
        resource.resource.type_url, resource.resource.value = type_url, body
        resource.ttl.seconds = 5
    for name in removed:
        full.removed_resource_names.add(name=name)
    ours = DeltaDiscoveryResponse.FromString(full.SerializeToString())
    assert (ours.type_url, ours.nonce, list(ours.removed_resources)) == (type_url, nonce, removed)
    assert [(r.name, r.version) for r in ours.resources] == [(name, "1") for name in resources]
    assert [entry.name for entry in ours.removed_resource_names] == removed
    assert FullResponse.FromString(ours.SerializeToString()) == full
