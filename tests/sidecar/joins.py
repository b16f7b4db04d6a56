"""Join files for tests."""

from __future__ import annotations

import json
from pathlib import Path

PEM = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


def write_join(path: Path, **fields: object) -> Path:
    """A join file that only its owner can read; ``fields`` replace those of a good one, and ``None`` leaves one out."""
    document: dict[str, object] = {
        "control_plane": "127.0.0.1:7601", "enrollment": "127.0.0.1:7602", "trust_domain": "picket.test", "workload": "shop/cart",
        "token": "a-join-token", "bundle_pem": PEM, "server_name": "picket-controlplane", "insecure": False,
    } | fields  # fmt: skip
    path.touch(mode=0o600)
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))
    return path
