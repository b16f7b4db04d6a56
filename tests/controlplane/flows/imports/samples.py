"""Logs of other tools, as files."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from controlplane.flows.imports.model import Imported, Lost, Parser, Record, Unused

DATA = Path(__file__).parents[3] / "data" / "flows"
HUBBLE = "hubble-bookinfo-gke-http-348.jsonl.gz"
ALS = "envoy-als-bookinfo.jsonl"
TEXT = "istio-access-text.log"
VPC = "aws-vpc-flow-v2.log"


def opened(name: str) -> BinaryIO:
    """A sample, unpacked."""
    body = (DATA / name).read_bytes()
    return io.BytesIO(gzip.decompress(body) if name.endswith(".gz") else body)


def records(parser: Parser, lines: Iterable[bytes | str]) -> list[Record]:
    """What a log's lines tell."""
    return [record for line in lines for record in parser(line if isinstance(line, bytes) else line.encode())]


def flows(found: Iterable[Record]) -> list[Imported]:
    """The flows among them."""
    return [record for record in found if isinstance(record, Imported)]


def reasons(found: Iterable[Record]) -> Counter[str]:
    """Why the others are not used."""
    return Counter(record.reason for record in found if isinstance(record, Unused))


def lost(found: Iterable[Record]) -> int:
    """How many the log says are missing."""
    return sum(record.count for record in found if isinstance(record, Lost))
