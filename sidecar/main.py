"""`picket-sidecar`: reads options, sets the process up, runs the agent or a step around it. Decides nothing of what they do."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence

from sidecar.join import SettingsError
from sidecar.options import ENVIRONMENT_PREFIX, parse
from sidecar.settings import PROXY_ID

_CANNOT_START, _BAD_OPTIONS = 1, 2


def main() -> None:
    """The command. Exits with the application's code, 1 when it cannot start, 2 for bad options."""
    steps = {"init": _init, "drain": _drain}
    if sys.argv[1:2] and sys.argv[1] in steps:
        sys.exit(steps[sys.argv[1]](sys.argv[2:]))
    try:
        settings, warning = parse(sys.argv[1:], os.environ)
    except SettingsError as error:
        sys.exit(_fail("picket-sidecar", error, _BAD_OPTIONS))
    application_environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    _configure_logging()
    if warning:
        logging.getLogger("picket.join").warning(warning)
    umask = os.umask(0o077)
    if os.geteuid() == 0 and settings.capture == "redirect":
        os.setegid(PROXY_ID)  # the redirect lets this group's connections go: the agent's own must not come back to Envoy
    # gRPC reads these when it is imported. Its fork handlers only cost here: children are started without a copy of the process.
    os.environ |= {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"}
    # asyncio can do without, gRPC brings its own, and it is a tenth of the agent's memory.
    if not any(probe.needs_tls for probe in settings.app_probes.values()):
        sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]  # how Python is told that a module is not to be had
    from sidecar.agent import StartError, run  # noqa: PLC0415  # only now; also, so a bad option is told at once

    try:
        code = run(settings, application_environment, umask)
    except StartError as error:
        code = _fail("picket-sidecar", error, _CANNOT_START)
    sys.exit(code)


def _init(arguments: Sequence[str]) -> int:
    from sidecar import init  # noqa: PLC0415  # a sidecar that runs has no use for it
    from sidecar.capture import CaptureError  # noqa: PLC0415  # the same

    try:
        init.run(init.parse(arguments, os.environ))
    except SettingsError as error:
        return _fail("picket-sidecar init", error, _BAD_OPTIONS)
    except CaptureError as error:
        return _fail("picket-sidecar init", error, _CANNOT_START)
    return 0


def _drain(arguments: Sequence[str]) -> int:
    from sidecar import drain  # noqa: PLC0415  # a sidecar that runs has no use for it
    from sidecar.admin import AdminError  # noqa: PLC0415  # the same

    try:
        finished = drain.run(drain.parse(arguments, os.environ))
    except SettingsError as error:
        return _fail("picket-sidecar drain", error, _BAD_OPTIONS)
    except AdminError as error:
        return _fail("picket-sidecar drain", error, _CANNOT_START)
    if not finished:
        sys.stderr.write("picket-sidecar drain: the time is over, and requests are still under way\n")
    return 0


def _fail(program: str, error: Exception, code: int) -> int:
    sys.stderr.write(f"{program}: {error}\n")
    return code


def _configure_logging() -> None:
    """A line per event on standard error: time, level, part, words, key=value."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    main()
