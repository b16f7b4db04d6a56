"""Join files for tests."""

from __future__ import annotations

import json
from pathlib import Path

from sidecar.join import Join

PEM = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
_GOOD: dict[str, object] = {
    "control_plane": "127.0.0.1:7601", "enrollment": "127.0.0.1:7602", "trust_domain": "picket.test", "workload": "shop/cart",
    "token": "a-join-token", "bundle_pem": PEM, "server_name": "picket-controlplane", "insecure": False,
}  # fmt: skip


def join(**changed: object) -> Join:
    """The content of a good join file, with these fields changed."""
    return Join(**(_GOOD | changed))  # type: ignore[arg-type]  # names and types are those above


def write_join(path: Path, **fields: object) -> Path:
    """A join file that only its owner can read; ``fields`` replace those of a good one, and ``None`` leaves one out."""
    document = {name: value for name, value in (_GOOD | fields).items() if value is not None}
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path
