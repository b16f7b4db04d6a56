"""Typed access to the nodes of a YAML document, whose errors name file, line and key. Knows no topology.

The number of values is bounded, so that a small file of aliases cannot stand for a huge document.
"""

from __future__ import annotations

import re

import yaml

from controlplane.topology.model import canonical_address

#: A document may hold this many values, each alias counted as what it stands for.
MAX_VALUES = 1_000_000
MAX_TEXT_CHARACTERS = 4096
_PORT = re.compile(r"\d{1,5}\Z")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHOWN_CHARACTERS = 80


class TopologyError(ValueError):
    """What is wrong in a topology file, and where: ``file:line: key: what``."""


def compose(text: bytes, file: str) -> yaml.Node:
    """The root node of the one document in a text.

    Raises:
        TopologyError: not UTF-8, not YAML, empty, or several documents.
    """
    try:
        root = yaml.compose(text.decode("utf-8"), Loader=_LOADER)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise TopologyError(f"{file}:{line}: not UTF-8 text: {error.reason}") from error
    except yaml.reader.ReaderError as error:
        line = text.decode("utf-8").count("\n", 0, error.position) + 1
        raise TopologyError(f"{file}:{line}: not YAML: {error.reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else min(mark.line, text.count(b"\n")) + 1  # the end of the text is on its last line
        raise TopologyError(f"{file}:{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise TopologyError(f"{file}:1: not YAML: nested too deeply") from error
    if root is None:
        raise TopologyError(f"{file}:1: services: is missing; the file is empty")
    assert isinstance(root, yaml.Node)
    return root


class Nodes:
    """Reads nodes of one file; ``where`` is the key's path, e.g. ``services[3].ports[0].port``."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._values = 0

    def fail(self, node: yaml.Node, where: str, what: str) -> TopologyError:
        """The error to raise about a node."""
        return TopologyError(f"{self._file}:{node.start_mark.line + 1}: {where}: {what}")

    def _count(self, node: yaml.Node, where: str, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self.fail(node, where, f"the file holds more than {MAX_VALUES} values, aliases followed")

    def mapping(self, node: yaml.Node, where: str) -> dict[str, yaml.Node]:
        """Keys and value nodes."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, where, "a mapping is wanted")
        self._count(node, where, len(node.value))
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fail(key, where, "keys are plain texts")
            if key.value in found:
                raise self.fail(key, f"{where}.{key.value[:_SHOWN_CHARACTERS]}", "is there twice")
            found[key.value] = value
        return found

    def required(self, fields: dict[str, yaml.Node], node: yaml.Node, key: str, where: str = "") -> yaml.Node:
        """The value of a key of ``node`` that must be there."""
        if key not in fields:
            raise self.fail(node, f"{where}.{key}" if where else key, "is missing")
        return fields[key]

    def sequence(self, node: yaml.Node, where: str, most: int = MAX_VALUES) -> list[tuple[yaml.Node, str]]:
        """Each item and where it is."""
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, where, "a list is wanted")
        if len(node.value) > most:
            raise self.fail(node, where, f"has {len(node.value)} items; at most {most} are read")
        self._count(node, where, len(node.value))
        return [(item, f"{where}[{index}]") for index, item in enumerate(node.value)]

    def text(self, node: yaml.Node, where: str) -> str:
        """A text; numbers, dates and the like have to be quoted."""
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
            raise self.fail(node, where, "a text is wanted")
        if len(node.value) > MAX_TEXT_CHARACTERS:
            raise self.fail(node, where, f"longer than {MAX_TEXT_CHARACTERS} characters")
        return str(node.value)

    def matching(self, node: yaml.Node, where: str, pattern: re.Pattern[str], what: str) -> str:
        """A text of a certain form; ``what`` says which."""
        text = self.text(node, where)
        if not pattern.match(text):
            raise self.fail(node, where, f"{text[:_SHOWN_CHARACTERS]!r} is not {what}")
        return text

    def address(self, node: yaml.Node, where: str) -> str:
        """A literal IP address, in its one spelling."""
        text = self.text(node, where)
        address = canonical_address(text)
        if address is None:
            raise self.fail(node, where, f"{text[:_SHOWN_CHARACTERS]!r} is not an IP address")
        return address

    def port_number(self, node: yaml.Node, where: str) -> int:
        """1 to 65535."""
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:int":
            raise self.fail(node, where, "a port number is wanted")
        if not _PORT.match(node.value) or not 0 < int(node.value) < 65536:
            raise self.fail(node, where, f"{node.value[:_SHOWN_CHARACTERS]} is not a port number: 1 to 65535")
        return int(node.value)
