"""This sidecar's identity out of what the Workload API answered, read in a process of its own. Never keeps, sends or logs it.

`python -m sidecar.svid SPIFFE_ID HINT` reads a serialised ``X509SVIDResponse`` from standard input, and writes one JSON object:
the fields of `identity.Identity`, or {"reason": text} where the answer does not hold that identity. It stands alone for the same
reason as `keys`: the cryptography library would double the memory of the agent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from protos.spiffe.endpoint import MAX_ANSWER_BYTES, how_to_register
from protos.spiffe.svids import AnswerError, X509Svid, read_answer

_MOST_LISTED = 5


def main() -> None:
    """Read, choose, write."""
    spiffe_id, hint = sys.argv[1:]
    if sys.stdout.isatty():
        sys.exit("sidecar.svid: this writes a private key, and standard output is a terminal; nothing was read")
    try:
        found = choose(read_answer(sys.stdin.buffer.read(MAX_ANSWER_BYTES + 1)), spiffe_id, hint)
    except AnswerError as error:
        found = str(error)
    if isinstance(found, str):
        written: dict[str, object] = {"reason": found}
    else:
        kept = ("spiffe_id", "key_pem", "chain_pem", "bundle_pem", "not_before_seconds", "not_after_seconds")
        written = {name: getattr(found, name) for name in kept}
    json.dump(written, sys.stdout)


def choose(svids: Sequence[X509Svid], spiffe_id: str, hint: str) -> X509Svid | str:
    """The identity that has to be used, or why none of them is it. Of several that are the same one, the first (standard, 5.3)."""
    named = [svid for svid in svids if svid.spiffe_id == spiffe_id]
    if not named:
        return f"it gave {_listed([svid.spiffe_id for svid in svids])}, and not {spiffe_id}; {how_to_register(spiffe_id)}"
    hinted = [svid for svid in named if not hint or svid.hint == hint]
    if not hinted:
        hints = _listed([svid.hint for svid in named])
        return f"what it gave for {spiffe_id} has the hint {hints}, and not {hint!r}; see --svid-hint"
    return hinted[0]


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else ""
    return ", ".join(text[:300] or "none" for text in texts[:_MOST_LISTED]) + more


if __name__ == "__main__":
    main()
