"""Topology files: what is read, and that everything else is an error with file, line and key."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from controlplane.topology.document import (
    MAX_FILE_BYTES,
    MAX_PORTS,
    ExpectedEdge,
    ExpectedRequest,
    TopologyDocument,
    TopologyError,
    load_topology,
    parse_topology,
)
from controlplane.topology.model import Kind, Port, Service, ServiceName, UpstreamListener
from controlplane.topology.nodes import MAX_VALUES

SHIPPED = sorted((Path(__file__).parents[3] / "controlplane/demo/topologies").glob("*.yaml"))
CART, FRONT = ServiceName("default", "cart"), ServiceName("default", "front")


def read(text: str) -> TopologyDocument:
    return parse_topology(dedent(text).encode(), "file.yaml")


def error(text: str | bytes) -> str:
    body = dedent(text).encode() if isinstance(text, str) else text
    with pytest.raises(TopologyError) as caught:
        parse_topology(body, "file.yaml")
    return str(caught.value)


def assert_document_or_error(body: bytes) -> None:
    """Any other exception fails the test; an error has its line."""
    try:
        document = parse_topology(body, "f")
    except TopologyError as caught:
        message = str(caught)
    else:
        assert isinstance(document, TopologyDocument)
        return
    assert re.match(r"f:\d+: ", message), message


GOOD = """\
source: [somewhere]
notes: [a note]
unknown: {kept: out}
services:
- name: front
  kind: gateway
  ports: [{port: 80, protocol: http}]
  capture: explicit
  endpoints: [127.0.1.1]
  application: 127.0.2.1
  upstreams:
  - {service: cart, port: 7070, listen: "127.0.0.1:17070"}
- name: cart
  namespace: default
  kind: service
  ports: [{port: 7070, protocol: grpc}, {port: 9090, protocol: http, target_port: 9091}]
  target_port: 7071
  addresses: [10.0.0.1, "2001:DB8::1", 10.0.0.1]
edges:
- {from: front, to: default/cart, port: 7070, protocol: grpc, requests: [{method: POST, path: /shop.Cart/Get}]}
- {from: front, to: cart, port: 7070, protocol: grpc, requests: [{method: POST, path: /shop.Cart/Add}]}
- {from: cart, to: front, port: 8443, protocol: http}
"""


def test_a_whole_document_is_read() -> None:
    document = read(GOOD)
    front, cart = document.topology.services[FRONT], document.topology.services[CART]
    assert front == Service(
        FRONT, Kind.GATEWAY, (Port(80, "http", 80), Port(8443, "http", 8443)), (), ("127.0.1.1",), "127.0.2.1", "explicit",
        (UpstreamListener(CART, 7070, "127.0.0.1", 17070),),
    )  # fmt: skip
    assert cart.ports == (Port(7070, "grpc", 7071), Port(9090, "http", 9091))
    assert cart.addresses == ("10.0.0.1", "2001:db8::1")
    requests = (ExpectedRequest("POST", "/shop.Cart/Get"), ExpectedRequest("POST", "/shop.Cart/Add"))
    assert document.edges == (
        ExpectedEdge(FRONT, CART, 7070, "grpc", requests),
        ExpectedEdge(CART, FRONT, 8443, "http"),
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_topology_reads(path: Path) -> None:
    document = load_topology(path)
    assert document.topology.services
    assert document.edges


def test_a_bare_name_finds_its_service_in_the_only_namespace_that_has_it() -> None:
    document = read("""\
        services:
        - {name: a, namespace: one, kind: service, ports: []}
        - {name: b, namespace: two, kind: service, ports: []}
        edges: [{from: a, to: b, port: 1, protocol: tcp}]
        """)
    assert document.edges[0].source == ServiceName("one", "a")


def test_an_external_host_may_have_a_long_name_or_be_an_address() -> None:
    host = "a-rather-long-name-of-some-bucket-that-somebody-thought-of.storage.example.com"
    document = read(f"""\
        services:
        - {{name: {host}, kind: external, ports: [{{port: 443, protocol: https}}]}}
        - {{name: "2001:DB8::2", kind: external, ports: []}}
        """)
    assert [str(name) for name in document.topology.services] == [f"default/{host}", "default/2001:db8::2"]


UPSTREAMS = "services:\n- name: a\n  kind: service\n  ports: []\n  upstreams:\n"
SERVICE = "services: [{name: a, kind: service, ports: []}, {name: b, kind: service, ports: []}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file.yaml:1: services: is missing; the file is empty"),
        ("[]", "file.yaml:1: the file: a mapping is wanted"),
        ("services", "file.yaml:1: the file: a mapping is wanted"),
        ("edges: []", "file.yaml:1: services: is missing"),
        ("services: 1", "file.yaml:1: services: a list is wanted"),
        ("services:\n- 1", "file.yaml:2: services[0]: a mapping is wanted"),
        ("services:\n- kind: service", "file.yaml:2: services[0].name: is missing"),
        ("services:\n- name: a\n  ports: []", "file.yaml:2: services[0].kind: is missing"),
        ("services:\n- name: a\n  kind: service", "file.yaml:2: services[0].ports: is missing"),
        ("services:\n- name: a\n  kind: pod\n  ports: []", "file.yaml:3: services[0].kind: 'pod' is not one of service, "),
        ("services:\n- name: 5\n  kind: service\n  ports: []", "file.yaml:2: services[0].name: a text is wanted"),
        ("services:\n- name: yes\n  kind: service\n  ports: []", "file.yaml:2: services[0].name: a text is wanted"),
        ("services:\n- name: a/b\n  kind: service\n  ports: []", "file.yaml:2: services[0].name: 'a/b' is not a name: 1-63"),
        ("services:\n- name: a\n  name: b\n  kind: service\n  ports: []", "file.yaml:3: services[0].name: is there twice"),
        ("services:\n- name: a\n  kind: service\n  ports: []\n- name: a\n  kind: service\n  ports: []",
         "file.yaml:5: services[1].name: default/a is there twice"),
        ("services:\n- name: a\n  kind: service\n  ports:\n  - port: 80",
         "file.yaml:5: services[0].ports[0].protocol: is missing"),
        ("services:\n- name: a\n  kind: service\n  ports:\n  - {port: '80', protocol: tcp}",
         "file.yaml:5: services[0].ports[0].port: a port number is wanted"),
        ("services:\n- name: a\n  kind: service\n  ports:\n  - {port: 70000, protocol: tcp}",
         "file.yaml:5: services[0].ports[0].port: 70000 is not a port number: 1 to 65535"),
        ("services:\n- name: a\n  kind: service\n  ports:\n  - {port: 0x50, protocol: tcp}",
         "file.yaml:5: services[0].ports[0].port: 0x50 is not a port number: 1 to 65535"),
        ("services:\n- name: a\n  kind: service\n  ports:\n  - {port: 80, protocol: HTTP}",
         "file.yaml:5: services[0].ports[0].protocol: 'HTTP' is not a protocol name: lower-case letters, digits and '-'"),
        ("services:\n- name: a\n  kind: service\n  ports:\n  - {port: 80, protocol: http}\n  - {port: 80, protocol: tcp}",
         "file.yaml:6: services[0].ports[1].port: 80 is there twice"),
        ("services:\n- name: a\n  kind: service\n  ports: []\n  addresses: [host]",
         "file.yaml:5: services[0].addresses[0]: 'host' is not an IP address"),
        ("services:\n- name: a\n  kind: service\n  ports: []\n  endpoints: ['fe80::1%eth0']",
         "file.yaml:5: services[0].endpoints[0]: 'fe80::1%eth0' is not an IP address"),
        ("services:\n- name: a\n  kind: service\n  ports: []\n  capture: magic",
         "file.yaml:5: services[0].capture: redirect or explicit"),
        (UPSTREAMS + "  - {service: b, port: 1, listen: '127.0.0.1:1'}",
         "file.yaml:6: services[0].upstreams[0].service: default/b is not among the services"),
        (UPSTREAMS + "  - {service: a, port: 1, listen: localhost}",
         "file.yaml:6: services[0].upstreams[0].listen: address:port is wanted, e.g. 127.0.0.1:17070"),
        (UPSTREAMS + "  - &u {service: a, port: 1, listen: '127.0.0.1:1'}\n  - *u",
         "file.yaml:6: services[0].upstreams[1].listen: 127.0.0.1:1 is there twice"),
        (SERVICE + "edges:\n- {from: a, port: 1, protocol: tcp}", "file.yaml:3: edges[0].to: is missing"),
        (SERVICE + "edges:\n- {to: b, port: 1, protocol: tcp}", "file.yaml:3: edges[0].from: is missing"),
        (SERVICE + "edges:\n- {from: a, to: b, protocol: tcp}", "file.yaml:3: edges[0].port: is missing"),
        (SERVICE + "edges:\n- {from: a, to: b, port: 1}", "file.yaml:3: edges[0].protocol: is missing"),
        (SERVICE + "edges:\n- {from: a, to: c, port: 1, protocol: tcp}",
         "file.yaml:3: edges[0].to: default/c is not among the services"),
        (SERVICE + "edges:\n- {from: '', to: b, port: 1, protocol: tcp}",
         "file.yaml:3: edges[0].from: '' is not a service name: write namespace/name, or name for the namespace default"),
        (SERVICE + "edges:\n- {from: a, to: b, port: 1, protocol: http, requests: [{method: GET}]}",
         "file.yaml:3: edges[0].requests[0].path: is missing"),
        (SERVICE + "edges:\n- {from: a, to: b, port: 1, protocol: http, requests: [{method: GET, path: x}]}",
         "file.yaml:3: edges[0].requests[0].path: 'x' is not a path: it starts with '/' and has no spaces"),
        (SERVICE + "edges:\n- {from: a, to: b, port: 1, protocol: http, requests: [{method: 'G T', path: /}]}",
         "file.yaml:3: edges[0].requests[0].method: 'G T' is not an HTTP method"),
        (SERVICE + "notes: [1]", "file.yaml:2: notes[0]: a text is wanted"),
        (SERVICE + "{}: x", "file.yaml:2: the file: keys are plain texts"),
        ("a:\n\tb", "file.yaml:2: not YAML: found character that cannot start any token"),
        ("a: [", "file.yaml:1: not YAML: did not find expected node content"),
        ("services: *x", "file.yaml:1: not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "file.yaml:2: not YAML: but found another document"),
        ("a:\n- \x00", "file.yaml:2: not YAML: control characters are not allowed"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_with_file_line_and_key(text: str, message: str) -> None:
    found = error(text.encode())
    assert found.startswith(message), found


def test_a_name_in_several_namespaces_has_to_be_written_out() -> None:
    found = error("""\
        services:
        - {name: a, namespace: one, kind: service, ports: []}
        - {name: a, namespace: two, kind: service, ports: []}
        edges:
        - {from: a, to: one/a, port: 1, protocol: tcp}
        """)
    assert found == "file.yaml:5: edges[0].from: default/a is in several namespaces; write one of one/a, two/a"


def test_text_that_is_not_utf8_is_told_with_its_line() -> None:
    assert error(b"services: []\n# caf\xe9") == "file.yaml:2: not UTF-8 text: unexpected end of data"


@pytest.mark.parametrize("text", [b"[" * 1_000_000, b"- " * 200_000, b"{a: " * 200_000, b"? " * 200_000])
def test_deep_nesting_is_an_error_and_not_a_crash(text: bytes) -> None:
    assert error(text).startswith("file.yaml:1: not YAML: ")


def test_aliases_do_not_multiply_without_bound() -> None:
    """Some kilobytes of aliases would stand for a thousand million requests."""
    requests = "requests: &r [" + "{method: GET, path: /x}, " + "&q {method: GET, path: /}, " + "*q, " * 20_000 + "]"
    edges = "edges:\n- &e {from: a, to: b, port: 1, protocol: http, " + requests + "}\n" + "- *e\n" * 20_000
    assert f"holds more than {MAX_VALUES} values" in error((SERVICE + edges).encode())


def test_ports_of_a_service_are_bounded() -> None:
    ports = ", ".join(f"{{port: {number}, protocol: tcp}}" for number in range(1, MAX_PORTS + 2))
    found = error(f"services: [{{name: a, kind: service, ports: [{ports}]}}]")
    assert found == f"file.yaml:1: services[0].ports: has {MAX_PORTS + 1} items; at most {MAX_PORTS} are read"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"none\.yaml: cannot be read: No such file"):
        load_topology(tmp_path / "none.yaml")


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(TopologyError, match="larger than"):
        load_topology(path)


@given(st.binary(max_size=300))
@example(b"%YAML 9.9\n---\n")
@example(b"\xff\xfes\x00")
@example(b"services: &a [*a]")
@example(b"&a {services: [*a]}")
@example(b"services: !!python/object/apply:os.system [x]")
@example(b"services: [{<<: *a}]")
def test_any_bytes_are_a_document_or_a_topology_error(body: bytes) -> None:
    assert_document_or_error(body)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["a", "b", "default/a"])
KEYS = st.sampled_from(
    ["services", "edges", "name", "namespace", "kind", "ports", "port", "protocol", "target_port", "addresses", "endpoints",
     "application", "capture", "upstreams", "service", "listen", "from", "to", "requests", "method", "path", "source", "notes"]
)  # fmt: skip
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=30)


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_yaml_of_known_keys_is_a_document_or_an_error_with_its_line(tree: dict[str, object]) -> None:
    body = yaml.safe_dump(tree, allow_unicode=True).encode()
    assert_document_or_error(body)


NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
SERVICES = st.lists(
    st.fixed_dictionaries(
        {
            "name": NAMES,
            "kind": st.sampled_from(["service", "datastore", "gateway"]),
            "ports": st.lists(
                st.fixed_dictionaries({"port": st.integers(1, 65535), "protocol": st.sampled_from(["http", "grpc", "redis"])}),
                max_size=3, unique_by=lambda port: str(port["port"]),
            ),
        },
        optional={"namespace": NAMES, "target_port": st.integers(1, 65535), "layer": st.text(max_size=5)},
    ),
    max_size=5, unique_by=lambda service: (service["name"], service.get("namespace", "default")),
)  # fmt: skip


@given(SERVICES)
def test_every_document_of_the_format_is_read_as_it_was_written(services: list[dict[str, object]]) -> None:
    document = parse_topology(yaml.safe_dump({"services": services}, allow_unicode=True).encode(), "f")
    read_back = [
        (s.name.name, s.name.namespace, str(s.kind), [(p.number, p.protocol) for p in s.ports])
        for s in document.topology.services.values()
    ]
    written = [
        (s["name"], s.get("namespace", "default"), s["kind"], [(p["port"], p["protocol"]) for p in s["ports"]])  # type: ignore[attr-defined]  # what the strategy makes
        for s in services
    ]
    assert read_back == written
