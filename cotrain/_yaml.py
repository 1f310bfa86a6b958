"""YAML text to plain values and back, without YAML's silent overwriting of repeated names."""

from __future__ import annotations

from typing import Any

import yaml

from cotrain.errors import ConfigError


class _UniqueLoader(yaml.SafeLoader):
    """Safe (no Python objects); a name that stands twice in one mapping, or a part of itself, is an error."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        if node is not None and node.end_mark is None:  # an alias to what is not yet read to its end
            raise ConfigError(f"YAML line {node.start_mark.line + 1}: this part holds itself. Write it out.")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for name, _ in node.value:
            if name.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *base` may be overridden: that is its use
            value = self.construct_object(name, deep=True)
            if not isinstance(value, str):
                raise ConfigError(f"YAML line {name.start_mark.line + 1}: a name must be text, found {value!r}.")
            if value in seen:
                raise ConfigError(f"YAML line {name.start_mark.line + 1}: {value!r} stands twice. Keep one.")
            seen.add(value)
        return super().construct_mapping(node, deep=deep)


class _ExactDumper(yaml.SafeDumper):
    """Quotes text that holds Unicode's line breaks, which PyYAML would read back as others."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if any(mark in data for mark in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_ExactDumper.add_representer(str, _ExactDumper.represent_str)


def read_yaml(text: str) -> dict[str, Any]:
    """The mapping that YAML text holds.

    Raises:
        ConfigError: The text is no YAML, no mapping, or names something twice.
    """
    try:
        content = yaml.load(text, Loader=_UniqueLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"This is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError("This YAML is nested too deeply.") from None
    except (AttributeError, LookupError, ValueError) as error:  # PyYAML's own, for a date or number that is none
        raise ConfigError(f"This YAML holds a value that cannot be read ({error}). Put quotes around text.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"Expected YAML of the form 'name: value', found {type(content).__name__}.")
    return content


def write_yaml(content: dict[str, Any]) -> str:
    """Plain values as YAML text, in their order."""
    return yaml.dump(content, Dumper=_ExactDumper, sort_keys=False, allow_unicode=True, width=100)
