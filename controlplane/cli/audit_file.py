"""Verifies an exported audit log, a JSON object a line, without a control plane. Answers as the API does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from controlplane.api.shapes import audit_verdict
from controlplane.policy.audit import AuditEvent, Chain, Head


class _Line(msgspec.Struct):
    id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: msgspec.Raw
    hash: str


def verified(file: Path, head: str | None) -> dict[str, Any]:
    """The verdict on a file; ``head`` as `policy.audit.Head` writes it.

    Raises:
        click.UsageError: the head is none.
        click.ClickException: a line that is no event; the message says which.
    """
    try:
        chain = Chain(Head.parse(head) if head else None)
    except ValueError as error:
        raise click.UsageError(f"--head: {error}") from error
    decoder = msgspec.json.Decoder(_Line)
    number = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                event = decoder.decode(line)
                detail = bytes(event.detail).decode()
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise click.ClickException(f"{file}:{number}: not a line that `picket audit export` printed: {error}") from error
            chain.follow([AuditEvent(event.id, event.at_ms, event.actor, event.action, event.subject, detail, event.hash)])
    answer: dict[str, Any] = msgspec.to_builtins(audit_verdict(chain.verdict(), number))
    return answer
