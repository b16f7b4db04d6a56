"""How a pod's sidecar joins: no join file, but a service-account token and the mesh's roots, in files that the kubelet keeps fresh.

Both are read again for each certificate. Never sends them anywhere.
"""

from __future__ import annotations

from pathlib import Path

from sidecar.join import Join, SettingsError, check_join

MAX_TOKEN_BYTES = 16 * 1024
MAX_BUNDLE_BYTES = 256 * 1024


def pod_join(
    *,
    token_file: Path,
    bundle_file: Path | None,
    control_plane: str | None,
    enrollment: str | None,
    workload: str | None,
    trust_domain: str,
    server_name: str,
) -> Join:
    """What a join file would hold, from options.

    Raises:
        SettingsError: which option is missing or cannot be used.
    """
    for option, value in (
        ("--bundle-file", bundle_file), ("--control-plane", control_plane), ("--enrollment", enrollment), ("--workload", workload)
    ):  # fmt: skip
        if not value:
            raise SettingsError(f"{option} is missing: with --token-file there is no join file that would say it")
    assert bundle_file is not None
    read_token(token_file)
    join = Join(
        control_plane=control_plane or "",
        enrollment=enrollment or "",
        trust_domain=trust_domain,
        workload=workload or "",
        token="",
        bundle_pem=read_bundle(bundle_file),
        server_name=server_name,
        insecure=False,
        token_file=token_file,
        bundle_file=bundle_file,
    )
    check_join(join, "--token-file")
    return join


def read_token(path: Path) -> str:
    """The token as it is now. Raises `SettingsError`."""
    token = _read(path, "--token-file", MAX_TOKEN_BYTES).strip()
    if not token or not token.isprintable():
        raise SettingsError(f"--token-file: {path}: no token is in it")
    return token


def read_bundle(path: Path) -> str:
    """The roots as they are now. Raises `SettingsError`."""
    bundle = _read(path, "--bundle-file", MAX_BUNDLE_BYTES)
    if "BEGIN CERTIFICATE" not in bundle:
        raise SettingsError(f"--bundle-file: {path}: no certificates (PEM) are in it")
    return bundle


def _read(path: Path, option: str, most_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            body = file.read(most_bytes + 1)
    except OSError as error:
        raise SettingsError(f"{option}: {path}: {error.strerror}") from error
    if len(body) > most_bytes:
        raise SettingsError(f"{option}: {path}: larger than {most_bytes} bytes")
    try:
        return body.decode("ascii")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{option}: {path}: not ASCII text") from error
