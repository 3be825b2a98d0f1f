"""YAML and JSON from files that people write: a key that stands twice in a mapping is refused.

Both formats' usual readers let the last one win without a word.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from SpineSegLib.errors import InputError, problem

if TYPE_CHECKING:
    import yaml

_JSON_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}]')


def load_yaml(text: str, where: object) -> object:
    """Return what a YAML document holds: plain values, lists and mappings.

    Parameters
    ----------
    where : what errors call the document, such as its file

    Raises
    ------
    yaml.YAMLError : it is no YAML, or asks for other objects
    InputError : a key stands twice in a mapping
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Looks at a mapping's keys before others are merged into it (``<<``), which may well have the same."""

        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in seen:
                        raise _doubled(where, key.value, key.start_mark.line + 1)
                    seen.add((key.tag, key.value))
            return node

    loader = Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def load_json(text: str, where: object) -> object:
    """Return what a JSON document holds.

    Parameters
    ----------
    where : what errors call the document, such as its file

    Raises
    ------
    ValueError : it is no JSON
    InputError : a key stands twice in an object
    """
    found = json.loads(text)
    objects: list[set[str]] = []
    for token in _JSON_TOKEN.finditer(text):
        if token[0] == "{":
            objects.append(set())
        elif token[0] == "}":
            objects.pop()
        elif token[2]:
            key = json.loads(token[1])
            if key in objects[-1]:
                raise _doubled(where, key, text.count("\n", 0, token.start()) + 1)
            objects[-1].add(key)
    return found


def _doubled(where: object, key: str, line: int) -> InputError:
    return problem(where, f"line {line} has the key {key!r} a second time", "each key once", "Remove one of the two")
