"""Runs one scenario, by its name, in the process that it is called in. Never judges what it measured."""

from __future__ import annotations

import importlib
import logging

import structlog

from tests.bench.measurement import Measurement


def run_one(name: str) -> list[Measurement]:
    """The figures of a scenario."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found: list[Measurement] = importlib.import_module(f"tests.bench.{name}").run()
    return found
