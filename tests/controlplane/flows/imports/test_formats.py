"""A log's format is known by its first lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.formats import ALS, FORMATS, HUBBLE, ISTIO_JSON, ISTIO_TEXT, SAMPLE_LINES, VPC, detect
from tests.controlplane.flows.imports import samples


@pytest.mark.parametrize(
    ("name", "wanted"), [(samples.HUBBLE, HUBBLE), (samples.ALS, ALS), (samples.TEXT, ISTIO_TEXT), (samples.VPC, VPC)]
)
def test_the_samples_are_recognised(name: str, wanted: str) -> None:
    assert detect(samples.opened(name).read().splitlines()) == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('{"start_time": "x", "upstream_cluster": "y"}', ISTIO_JSON), ('{"verdict": "FORWARDED", "l4": {}}', HUBBLE),
        ('{"lost_events": {}}', HUBBLE), ('{"http_logs": {}}', ALS), ("2 123456789010 eni-1 1 2", VPC), ("", None), ("hello", None),
        ('{"a": 1}', None), ("{", None),
    ],
)  # fmt: skip
def test_a_line_says_its_format_or_nothing(line: str, wanted: str | None) -> None:
    assert detect([line.encode()]) == wanted


def test_lines_of_no_format_before_it_do_not_matter_but_are_not_read_forever() -> None:
    known = b'{"lost_events": {}}'
    assert detect([b"starting", b"", known]) == HUBBLE
    assert detect([b"x"] * SAMPLE_LINES + [known]) is None


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_lines_have_a_known_format_or_none(lines: list[bytes]) -> None:
    found = detect(lines)
    assert found is None or found in FORMATS
