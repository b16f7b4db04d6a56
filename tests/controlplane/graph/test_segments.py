"""Shapes of segments: what is an identifier, and what stays a word."""

from __future__ import annotations

import random
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.segments import MAX_WORD, shape
from controlplane.policy.rules import HttpMatch

WORDS = """users v1 v2beta1 oauth2 s3 sha256 utf-8 2fa http2 i18n jquery-3.7.1.min.js error404 decade facade reset-password-confirm
GetProduct getCustomerOrderHistoryByAccountIdAndRegion shopping-cart-v2-beta oauth2-callback-v2-sha256 hipstershop.CartService
caf%C3%A9 favicon.ico OAuth2TokenEndpointV2 abcdefghijklmnopqrstuvwxyz the-10-best-things-to-do setCurrency
.well-known openid-configuration _search $metadata"""


@pytest.mark.parametrize("word", WORDS.split())
def test_words_stay_words(word: str) -> None:
    assert shape(word) == word


@pytest.mark.parametrize(
    ("segment", "pattern"),
    [
        ("0", "{id}"),
        ("-5", "{id}"),
        ("20240131", "{id}"),
        ("4f0c9e1a-1b2c-4d3e-8f90-abcdefABCDEF", "{uuid}"),
        ("2024-01-31", "{date}"),
        ("2024-01-31T10:00:00Z", "{date}"),
        ("10.0.0.1", "{address}"),
        ("1.2.3", "{version}"),
        ("a.b@example.com", "{email}"),
        ("3f2a9c1b", "{hash}"),
        ("deadbeefdeadbeef", "{hash}"),
        ("OLJCESPC7Z", "{token}"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{token}"),
        ("V1StGXR8_Z5jdHi6B-myT", "{token}"),
        ("item-123", "item-{id}"),
        ("user12345", "user{id}"),
        ("42.json", "{id}.json"),
        ("app.3f2a9c1b.js", "app.{hash}.js"),
        ("report-2024-01-31.pdf", "report-{date}.pdf"),
        ("cus_9s6XKzkNRiz8i3", "cus_{token}"),
        ("a;jsessionid=AB12CD34EF56", "a;jsessionid={hash}"),
        ("1234-5678-1234-5678-1234", "{token}"),
        ("w" * (MAX_WORD + 1), "{token}"),
        ("%E2%82%AC" * 20, "{token}"),
    ],
)
def test_identifiers_become_parameters_named_by_their_kind(segment: str, pattern: str) -> None:
    assert shape(segment) == pattern


@pytest.mark.parametrize(
    ("alphabet", "length", "share"),
    [
        (string.hexdigits[:16], 12, 0.98),
        (string.ascii_uppercase + string.digits, 10, 0.9),
        (string.ascii_lowercase + string.digits, 16, 0.85),
        (string.ascii_letters + string.digits, 20, 0.85),
        (string.ascii_letters + string.digits + "-_", 22, 0.8),
    ],
)
def test_most_random_names_are_known_as_such(alphabet: str, length: int, share: float) -> None:
    chance = random.Random(1)
    found = sum("{" in shape("".join(chance.choices(alphabet, k=length))) for _ in range(1000))
    assert found >= share * 1000


SEGMENTS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/{}*#?"), min_size=1, max_size=120)


@given(SEGMENTS | st.from_regex(r"[a-fA-F0-9_.~-]{1,40}", fullmatch=True))
def test_a_shape_holds_its_segment_and_is_short(segment: str) -> None:
    """Also: what is no word reads as a pattern, so the two cannot be mixed up."""
    match = HttpMatch("", f"/{shape(segment)}")
    assert re.fullmatch(match.path_expression(), f"/{segment}")
    assert match.is_template == (shape(segment) != segment)
    assert len(shape(segment)) <= MAX_WORD
