"""How a sidecar joins whose identity comes from the SPIFFE Workload API: no join file, no token, no roots. Asks nobody."""

from __future__ import annotations

from collections.abc import Mapping

from protos.spiffe.endpoint import ADDRESS_VARIABLE, MAX_HINT_CHARACTERS, read_address
from sidecar.join import Join, SettingsError, WorkloadApiAddress, check_join


def spiffe_join(
    *,
    address: str | None,
    hint: str,
    control_plane: str | None,
    workload: str | None,
    trust_domain: str,
    server_name: str,
    environment: Mapping[str, str],
) -> Join:
    """What a join file would hold, from options; ``environment`` gives the standard's address where no option does.

    Raises:
        SettingsError: which option is missing or cannot be used.
    """
    for option, value in (("--control-plane", control_plane), ("--workload", workload)):
        if not value:
            raise SettingsError(f"{option} is missing: with --identity workload-api there is no join file that would say it")
    found, where = (address, "--workload-api") if address else (environment.get(ADDRESS_VARIABLE), ADDRESS_VARIABLE)
    if not found:
        raise SettingsError(f"--workload-api is missing, and {ADDRESS_VARIABLE} is not set: where the SPIFFE Workload API is")
    try:
        target = read_address(found)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error
    if len(hint) > MAX_HINT_CHARACTERS or not hint.isprintable():
        raise SettingsError(f"--svid-hint: at most {MAX_HINT_CHARACTERS} printable characters")
    join = Join(
        control_plane=control_plane or "",
        enrollment="",
        trust_domain=trust_domain,
        workload=workload or "",
        token="",
        bundle_pem="",
        server_name=server_name,
        insecure=False,
        workload_api=WorkloadApiAddress(target, hint),
    )
    check_join(join, "--identity workload-api")
    return join
