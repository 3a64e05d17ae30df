"""Somebody who does what a page says: types its commands, saves its files, and compares what is printed."""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.docs.pages import ROOT, Block
from tests.e2e.running import Product, Running, until

ADDRESS = "127.0.0.1:8000"
POSTGRESQL = "127.0.0.1:5432"
OTHER_TERMINAL = "# in another terminal\n"
IN_THE_OTHER = "# in the other terminal\n"
RUN = "make run"
INTERRUPT = "# Ctrl-C in the terminal of `make run`"
SHELL = "nameko shell"

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?")


class Reader:
    """Somebody in a folder that looks like a checkout, with terminals.

    Args:
        folder: An empty folder.
        amqp_uri: The broker of the product that `make run` starts.
        environment: More of the environment.
    """

    def __init__(self, folder: Path, amqp_uri: str, **environment: str) -> None:
        for name in ("config.yaml", "examples", "Makefile", "grpc_bridge"):
            (folder / name).symlink_to(ROOT / name)
        (folder / ".venv").symlink_to(sys.prefix)
        self.folder = folder
        self.product = Product(folder, AMQP_URI=amqp_uri, LOG_FORMAT="console", **environment)
        self.stands_for: dict[str, str] = {ADDRESS: self.product.environment["BEERS_ADDRESS"]}
        """What a page says, and what it is here."""
        self._path = f"{Path(sys.executable).parent}:{self.product.environment['PATH']}"
        self._environment: dict[str, str] = {}
        self._terminals: list[Running] = []
        self._runs = False

    def add_to_path(self, folder: Path) -> None:
        """Let programs be found in *folder*."""
        self._path += f":{folder}"

    def follow(self, blocks: Iterable[Block]) -> None:
        """Do what the *blocks* of a page say; raises AssertionError where it comes out otherwise."""
        self._environment = self.product.environment | {"PATH": self._path}
        try:
            self._follow(blocks)
        finally:
            while self._terminals:
                self._terminals.pop().stop()

    def leave(self) -> None:
        """Stop the product, if it runs."""
        if self._runs:
            self.product.stop()

    def _follow(self, blocks: Iterable[Block]) -> None:
        printed = ""
        pending = list(blocks)
        while pending:
            block = pending.pop(0)
            if block.reason:
                while pending and pending[0].language == "text":
                    pending.pop(0)
            elif block.language == "text":
                self._compare(block, printed)
            elif block.file:
                (self.folder / block.file).write_text(self._here(block.code), encoding="utf-8")
            elif block.language == "sh":
                typed = pending.pop(0).code if block.code.startswith(SHELL) else ""
                printed = self._obey(block, typed)
            else:
                raise AssertionError(f"{block} is neither run nor marked")

    def _obey(self, block: Block, typed: str) -> str:
        """Type a block into a shell and return what is printed. The next shell has the environment that it left."""
        if block.code.startswith(OTHER_TERMINAL):
            command = ["bash", "-euc", self._here(self._with_exec(block.code))]
            self._terminals.append(Running(command, self._environment, self.folder))
            return ""
        before, runs, after = block.code.partition(f"{RUN}\n")
        if runs:
            return self._type(block, before) + self._run() + self._type(block, after)
        if block.code.startswith(INTERRUPT):
            self.product.stop()
            self._runs = False
            return ""
        return self._type(block, block.code, typed)

    def _run(self) -> str:
        if not self._runs:
            self.product.start()
            self._runs = True
        return "\n".join(self.product.running.lines)

    def _type(self, block: Block, script: str, typed: str = "") -> str:
        kept = self.folder / ".environment"
        done = subprocess.run(
            ["bash", "-euc", f"{self._here(script)}\nenv -0 >{kept}"],
            cwd=self.folder,
            env=self._environment,
            input=self._here(typed),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        pairs = (one.partition("=") for one in kept.read_text().split("\0") if one)
        self._environment = {name: value for name, _, value in pairs}
        return done.stdout.replace(">>> ", "")

    def _compare(self, block: Block, printed: str) -> None:
        """See that what was *printed*, or what comes in the other terminal, is what the page shows."""
        if block.code.startswith(IN_THE_OTHER) or (not printed and self._terminals):
            terminal = self._terminals[-1]
            pattern = _pattern(self._here(block.code.removeprefix(IN_THE_OTHER)))
            try:
                until(lambda: pattern.fullmatch(_plain("\n".join(list(terminal.lines)))), str(block), patience=20)
            except AssertionError as error:
                raise AssertionError("\n".join([str(block), *terminal.lines])) from error
            return
        assert _pattern(self._here(block.code)).fullmatch(_plain(printed)), f"{block}\n{printed}"

    def _here(self, text: str) -> str:
        for said, meant in self.stands_for.items():
            text = text.replace(said, meant)
        return text

    @staticmethod
    def _with_exec(script: str) -> str:
        """Let the last command of *script* take the place of the shell, so that a signal reaches it."""
        before, _, last = script.rstrip("\n").rpartition("\n")
        return f"{before}\nexec {last}"


def _plain(text: str) -> str:
    """Return *text* without what is empty, and with all times alike."""
    lines = (line.strip() for line in _TIME.sub("TIME", text).splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def _pattern(shown: str) -> re.Pattern[str]:
    """Return the pattern of what a page shows: `…` stands for anything in a line, and alone for any lines."""
    parts = []
    for line in _plain(shown).splitlines():
        if line == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            said = [re.escape(part.rstrip()) for part in line.split("…")]
            parts.append(".*".join(said) + "\n")
    return re.compile("".join(parts))
