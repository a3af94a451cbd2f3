"""A conversation on a terminal: it waits for the person between its answers."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from patinox.cli.interrupt import NOTHING_MORE, run_stoppable
from patinox.cli.output import DONE, tolerate
from patinox.cli.prompts import read_images
from patinox.cli.session import Chosen, Setup, announce, find_model, place_of
from patinox.provider.errors import ProviderError
from patinox.provider.images import Image
from patinox.provider.types import CompletionMessage

if TYPE_CHECKING:
    from patinox.cli.chat import Talk

PROMPT = "> "
HELP = """\
/model [NAME]   use another model, or tell which it is
/system [TEXT]  give the model an instruction, or take it back
/image [FILE]   show a picture with the next question, or take them back
/save FILE      write the conversation to a new file
/retry          ask the last question again
/help           this list
/exit           leave (or Ctrl-D); Ctrl-C stops an answer"""
_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)


class Conversation:
    """One conversation: what was said, who answers, and the commands that begin with a slash."""

    def __init__(
        self,
        runner: asyncio.Runner,
        talk: Talk,
        setup: Setup,
        chosen: Chosen,
        system: str | None,
        images: Sequence[Image] = (),
    ) -> None:
        """Begin without a word; the pictures go with the first question."""
        self._runner = runner
        self._talk = talk
        self._out = talk.out
        self._setup = setup
        self._chosen = chosen
        self._system = system
        self._messages: list[CompletionMessage] = []
        self._images = list(images)
        self._last: CompletionMessage | None = None

    def hold(self) -> int:
        """Ask for questions and answer them until the person leaves."""
        tolerate(sys.stdin)
        with contextlib.suppress(ModuleNotFoundError):  # not on Windows
            import_module("readline")  # gives `input` its history and its editing
        # Whoever was chosen for the person has been announced already.
        who = f"{self._who()}. " if self._chosen.reason is None else ""
        self._out.remark(f"{who}/help lists the commands, Ctrl-D leaves.")
        while True:
            try:
                line = input(PROMPT).strip()
                if line and not self._take(line):
                    return DONE
            except EOFError:
                self._out.err.line()
                return DONE
            except KeyboardInterrupt:
                self._out.err.line()
                self._out.remark("Ctrl-D or /exit leaves.")

    def _who(self) -> str:
        info = self._chosen.info
        return f"{info.id} on {place_of(self._talk.local, info.service)}"

    def _take(self, line: str) -> bool:
        """Do what a line says; whether the conversation goes on."""
        found = _COMMAND.fullmatch(line)
        if found is None:  # a path too begins with a slash
            question = CompletionMessage.user([line, *self._images])
            self._images = []
            self._ask(question)
            return True
        name, rest = found[1], found[2] or ""
        if name == "exit":
            return False
        commands: dict[str, Callable[[str], None]] = {
            "model": self._use,
            "system": self._instruct,
            "image": self._show,
            "save": self._save,
            "retry": self._retry,
            "help": lambda _: self._out.lines(HELP.splitlines()),
        }
        command = commands.get(name)
        if command is None:
            self._out.remark(f"There is no command /{name}. /help lists them.")
        else:
            command(rest.strip())
        return True

    def _ask(self, question: CompletionMessage) -> bool:
        """Ask, and remember what was said; whether anything was answered."""
        self._last = question
        screen, info = self._talk.screen(), self._chosen.info
        try:
            request = self._talk.request(self._chosen, [*self._messages, question], self._system)
            answer = self._talk.stream(request, info, screen)
            response = run_stoppable(self._runner, answer, again=NOTHING_MORE)
            self._talk.tell_summary(response, info)
            self._chosen = self._chosen._replace(info=replace(info, loaded=True))
        except ProviderError as error:
            self._out.failure(error)
        except KeyboardInterrupt:
            self._out.remark("(stopped)")
        if screen.text:
            self._messages = [*self._messages, question, CompletionMessage.assistant(screen.text)]
        return bool(screen.text)

    def _use(self, name: str) -> None:
        if not name:
            self._out.remark(self._who())
            return
        try:
            search = find_model(self._talk.local, name, self._setup)
            self._chosen = run_stoppable(self._runner, search, again=NOTHING_MORE)
        except ProviderError as error:
            self._out.failure(error)
            return
        announce(self._out, self._talk.local, self._chosen._replace(reason="from now on"))

    def _instruct(self, text: str) -> None:
        self._system = text or None
        self._out.remark("The instruction holds from now on." if text else "No instruction.")

    def _show(self, name: str) -> None:
        if not name:
            self._images = []
            self._out.remark("No picture.")
            return
        try:
            self._images += read_images([name])
        except ProviderError as error:
            self._out.failure(error)
            return
        number = len(self._images)
        what = "It goes" if number == 1 else f"{number} pictures go"
        self._out.remark(f"{what} with the next question.")

    def _retry(self, _: str) -> None:
        if self._last is None:
            self._out.remark("There is no question yet.")
            return
        before = self._messages
        if before and before[-2] is self._last:
            self._messages = before[:-2]
        if not self._ask(self._last):
            self._messages = before  # the answer that was there is better than none

    def _save(self, name: str) -> None:
        if not name:
            self._out.remark("Say where: /save FILE")
            return
        path = Path(name).expanduser()
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(transcript(self._system, self._messages))
        except OSError as error:
            self._out.remark(f"{path} was not written: {error.strerror}.")
        else:
            self._out.remark(f"Saved to {path}.")


def transcript(system: str | None, messages: list[CompletionMessage]) -> str:
    """Write a conversation as Markdown."""
    start = [CompletionMessage.system(system)] if system else []
    return "\n".join(map(_paragraph, (*start, *messages)))


def _paragraph(message: CompletionMessage) -> str:
    pictures = "".join(f"\n\n({image.media_type})" for image in message.images)
    return f"## {message.role}\n\n{message.content}{pictures}\n"
