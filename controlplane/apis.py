"""The API with the console, on all its listeners: opened, told where they are, closed. Answers nothing itself.

The first sign-in of a new control plane is by a one-time link, in a file for its owner: there is no default password.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from wsgiref.types import WSGIApplication

import structlog

from controlplane.api import places
from controlplane.api.listen import ApiServer
from controlplane.server import listen
from controlplane.settings import Settings, advertised

_log = structlog.get_logger("picket")


class Apis:
    """The listeners of one control plane, open from `serve` to `close`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.servers: list[ApiServer] = []

    def token(self) -> str | None:
        """The token that callers over TCP bring; made where none was given, and none where nobody calls over TCP.

        Raises:
            PlaceError: its file cannot be used.
        """
        given = self._settings.api_token_file
        if given is not None:
            token, warning = places.read_token(given)
            if warning:
                _log.warning("API token", warning=warning)
            return token
        only_sockets = all(address.path for address in self._settings.api_listen)
        return None if only_sockets else places.keep_token(places.token_file(self._settings.data))

    def serve(self, served: WSGIApplication, new_link: Callable[[], str] | None) -> None:
        """Listen. ``new_link`` makes the secret of a first sign-in; ``None`` where somebody has done something already.

        Raises:
            ListenError, ApiListenError, PlaceError: an address or a file cannot be had.
        """
        for address in self._settings.api_listen:
            if address.path:
                listen.remove_stale_socket(Path(address.path))
            self.servers.append(ApiServer(served, address))
        places.write_private(places.address_file(self._settings.data), self.servers[0].address + "\n")
        self._offer_first_sign_in(new_link)

    def close(self) -> None:
        """Finish what is under way, and be found no more."""
        for server in self.servers:
            server.close()
        file = places.address_file(self._settings.data)
        if self.servers and places.read_address(file) == self.servers[0].address:  # and not another control plane's by now
            file.unlink(missing_ok=True)

    def _offer_first_sign_in(self, new_link: Callable[[], str] | None) -> None:
        """A log gets only the name of the file: others read logs."""
        file = places.console_link_file(self._settings.data)
        address = next((server.address for server in self.servers if not server.address.startswith("unix:")), None)
        if address is None or new_link is None:
            file.unlink(missing_ok=True)
            return
        scheme, separator, listening = address.partition("://")
        reached = advertised(listening, (*self._settings.server_names, "localhost"))
        link = f"{scheme}{separator}{reached}/sign-in/once/{new_link()}"
        places.write_private(file, link + "\n")
        _log.info("console", first_sign_in=str(file))
        if sys.stderr.isatty():
            sys.stderr.write(f"picket: the console, for its owner, once and within an hour: {link}\n")
