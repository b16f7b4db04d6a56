"""Join tokens: no two are the same, and what is stored does not hold the token."""

from __future__ import annotations

from controlplane.identity.tokens import PREFIX, new_token, token_hash


def test_tokens_differ_and_carry_256_random_bits() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith(PREFIX) and len(token) - len(PREFIX) == 43 for token in tokens)


def test_the_stored_hash_names_one_token_and_does_not_hold_it() -> None:
    token = new_token()
    assert token_hash(token) == token_hash(token)
    assert token_hash(token) != token_hash(token + "x")
    assert token.removeprefix(PREFIX) not in token_hash(token)
