"""How a command of `beers` fails: in words."""

from typing import Any

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended."""


class Failure(Exception):
    """A command came to nothing; the exit status is 1.

    Attributes:
        message: What happened and why.
        hint: What to do about it; empty if that is obvious.
        facts: The same for machines: code, reason, field, request_id, as far as they are known.
    """

    def __init__(self, message: str, hint: str = "", **facts: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = {name: value for name, value in facts.items() if value}

    def document(self) -> dict[str, Any]:
        """Return the failure as one JSON document."""
        hint = {"hint": self.hint} if self.hint else {}
        return {"error": {"message": self.message, **hint, **self.facts}}
