"""Stages as a reader sees them: one line each, also of one that fails."""

from __future__ import annotations

import io

import pytest

from controlplane.demo.progress import Progress


def test_a_stage_that_ends_is_fine_and_one_that_fails_is_not() -> None:
    shown = io.StringIO()
    progress = Progress(shown)
    with progress.stage("learn") as stage:
        stage.result = "17 edges"
    with pytest.raises(KeyboardInterrupt), progress.stage("tour"):
        raise KeyboardInterrupt
    learn, tour = shown.getvalue().splitlines()
    assert "✓ learn" in learn
    assert "17 edges" in learn
    assert "✗ tour" in tour
    assert "not finished" in tour
