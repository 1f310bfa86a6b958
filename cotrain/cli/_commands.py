"""How commands are added to the parser: each with help and examples of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable

RECIPE_HELP = "a recipe: a file (recipes/digits_v1.py), a module, or a shipped name (digits_v1)"

RANKS_HELP = "processes of this machine that share each batch, each on a GPU of its own where there are any (default 1)"

Command = Callable[[argparse.Namespace], int]


class Commands:
    """The commands below a parser."""

    def __init__(self, parser: argparse.ArgumentParser, program: str) -> None:
        self._program = program
        self._commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
        self._common = argparse.ArgumentParser(add_help=False)
        self._common.add_argument("--debug", action="store_true", help="show the traceback of an error")
        self._common.add_argument("-v", "--verbose", action="count", default=0, help="tell more; twice: everything")

    def add(self, name: str, command: Command, text: str, *examples: str) -> argparse.ArgumentParser:
        """A command: `text` says what it does, each of `examples` what may follow its name."""
        # options that stand before the second of two commands would be lost: a group has none
        added = self._parser(name, text, examples, [self._common])
        added.set_defaults(command=command)
        return added

    def group(self, name: str, text: str, *examples: str) -> Commands:
        """Commands of two words."""
        return Commands(self._parser(name, text, examples, []), f"{self._program} {name}")

    def _parser(
        self, name: str, text: str, examples: tuple[str, ...], parents: list[argparse.ArgumentParser]
    ) -> argparse.ArgumentParser:
        lines = ["examples:", *(f"  {self._program} {name} {example}" for example in examples)]
        parser: argparse.ArgumentParser = self._commands.add_parser(
            name,
            parents=parents,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog="\n".join(lines) if examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return parser


def positive(text: str) -> int:
    """The type of an argument that counts something."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)
