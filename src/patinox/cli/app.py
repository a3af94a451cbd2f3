"""The commands and their options; what each does is imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from patinox._version import __version__
from patinox.cli import managing
from patinox.cli.options import (
    Config,
    First,
    Images,
    Json,
    MaxTokens,
    Model,
    NumCtx,
    Prompt,
    Reasoning,
    Schema,
    Seed,
    Service,
    System,
    Temperature,
    Timeout,
)
from patinox.cli.output import DONE, USAGE, Output, ReaderGone, perform
from patinox.cli.session import Setup
from patinox.provider.errors import InvalidRequest

NAME = "patinox"

app = typer.Typer(
    name=NAME,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _words(first: str | None, rest: Sequence[str] | None) -> list[str]:
    return [word for word in (first, *(rest or ())) if word is not None]


def _show_version(asked: bool) -> None:  # noqa: FBT001  typer hands it over so
    if asked:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback()
def patinox(
    context: typer.Context,
    *,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> int:
    """Every language model running on this machine, through one door.

    Without a command it shows the status.
    """
    del version
    if context.invoked_subcommand is None:
        return status(service=service, config=config, as_json=as_json)
    # What was said before the command holds for the command.
    said = {"service": service, "config": config, "as_json": as_json}
    context.default_map = {context.invoked_subcommand: {k: v for k, v in said.items() if v}}
    return DONE


@app.command()
def status(*, service: Service = None, config: Config = None, as_json: Json = False) -> int:
    """Show the services on this machine and how they are."""
    from patinox.cli.status import status as work

    out = Output(as_json=as_json)
    return perform(out, lambda: work(Setup(service, config), out))


@app.command()
def models(
    *,
    loaded: Annotated[bool, typer.Option("--loaded", help="Only those in memory.")] = False,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """List the models, what they can do and where they are."""
    from patinox.cli.models import models as work

    out = Output(as_json=as_json)
    return perform(out, lambda: work(Setup(service, config), out, loaded=loaded))


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", hidden=True)],
    *,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Tell all that is known of a model, and how it is known."""
    from patinox.cli.models import show as work

    out = Output(as_json=as_json)
    return perform(out, lambda: work(Setup(service, config), out, model))


@app.command()
def chat(  # noqa: PLR0913  each is an option of the command
    first: First = None,
    rest: Prompt = None,
    *,
    model: Model = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    num_ctx: NumCtx = None,
    seed: Seed = None,
    timeout: Timeout = None,
    reasoning: Reasoning = None,
    image: Images = None,
    schema: Schema = None,
    think: Annotated[
        bool | None,
        typer.Option(
            "--think/--no-think",
            help="Show what the model thinks before it answers; on a terminal it is shown.",
        ),
    ] = None,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Ask a model and show its answer as it comes, or hold a conversation.

    The first word is the model if it names one; with --model all words are the prompt. A prompt is
    also read from standard input. Without any, on a terminal, it is a conversation: /help lists
    what it knows, Ctrl-C stops an answer, Ctrl-D leaves.
    """
    from patinox.cli.chat import Options
    from patinox.cli.chat import chat as work

    options = Options(
        model=model,
        system=system,
        temperature=temperature,
        max_tokens=max_tokens,
        num_ctx=num_ctx,
        seed=seed,
        timeout=timeout,
        reasoning=reasoning,
        images=tuple(image or ()),
        schema=schema,
        think=think,
    )
    return work(Setup(service, config), Output(as_json=as_json), options, _words(first, rest))


@app.command()
def complete(  # noqa: PLR0913  each is an option of the command
    first: First = None,
    rest: Prompt = None,
    *,
    model: Model = None,
    system: System = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    num_ctx: NumCtx = None,
    seed: Seed = None,
    timeout: Timeout = None,
    reasoning: Reasoning = None,
    image: Images = None,
    schema: Schema = None,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Ask a model and write its whole answer, and nothing else.

    The first word is the model if it names one; with --model all words are the prompt. A prompt is
    also read from standard input.
    """
    from patinox.cli.chat import Options
    from patinox.cli.chat import complete as work

    options = Options(
        model=model,
        system=system,
        temperature=temperature,
        max_tokens=max_tokens,
        num_ctx=num_ctx,
        seed=seed,
        timeout=timeout,
        reasoning=reasoning,
        images=tuple(image or ()),
        schema=schema,
    )
    return work(Setup(service, config), Output(as_json=as_json), options, _words(first, rest))


@app.command()
def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            hidden=True,
        ),
    ] = None,
    *,
    model: Model = None,
    timeout: Timeout = None,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Turn texts into vectors.

    Each TEXT is one; without any, each line of standard input is. Each vector is a line of numbers.
    """
    from patinox.cli.embed import embed as work
    from patinox.cli.embed import read_texts

    out, setup = Output(as_json=as_json), Setup(service, config)
    return perform(
        out, lambda: work(setup, out, read_texts(texts or [], out), model=model, within=timeout)
    )


for command in managing.COMMANDS:
    app.command()(command)


@app.command()
def bench(  # noqa: PLR0913  each is an option of the command
    models: Annotated[list[str] | None, typer.Argument(metavar="MODELS", hidden=True)] = None,
    *,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="NUMBER", help="How often each thing is measured.")
    ] = 3,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="NUMBER", help="The longest answer, in tokens.")
    ] = 64,
    concurrency: Annotated[
        int,
        typer.Option(
            "--concurrency", metavar="NUMBER", help="Up to so many requests at once: 1, 2, 4, ..."
        ),
    ] = 4,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="What is asked.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw a picture too: a .png or a .svg."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="How long each request may take."),
    ] = None,
    service: Service = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Measure how fast models are, and compare services.

    Each of the MODELS is measured on every service that has it; without any, those that are in
    memory are, else the one that chat would choose. Models in the cloud are never measured.
    """
    from patinox.cli.bench import PROMPT, Options
    from patinox.cli.bench import bench as work

    options = Options(
        prompt=prompt or PROMPT,
        rounds=rounds,
        max_tokens=max_tokens,
        concurrency=concurrency,
        timeout=timeout,
        plot=plot,
    )
    return work(Setup(service, config), Output(as_json=as_json), models or [], options)


@app.command()
def doctor(*, service: Service = None, config: Config = None, as_json: Json = False) -> int:
    """Look at all that could be wrong, and say what to do."""
    from patinox.cli.doctor import doctor as work
    from patinox.cli.doctor import look_around

    out, setup = Output(as_json=as_json), Setup(service, config)
    return perform(out, lambda: work(setup, out, look_around(setup)))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; only what nobody expected is raised."""
    arguments = [_text(argument) for argument in arguments]
    try:
        return _command(arguments)
    except ReaderGone as error:
        raise BrokenPipeError from error
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer's, while it wrote its help
            raise ended.__context__ from None
        raise


def _command(arguments: list[str]) -> int:
    command: Any = typer.main.get_command(app)
    try:
        # `*` in a prompt is no pattern of file names, not even on Windows.
        code = command.main(
            arguments, prog_name=NAME, standalone_mode=False, windows_expand_args=False
        )
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        place = context.command_path if context else NAME
        misuse = InvalidRequest(error.format_message(), hint=f"Next: {place} --help")
        Output(as_json="--json" in arguments).failure(misuse)
        return USAGE
    return int(code or DONE)  # 130 after Ctrl-C, by typer


def _text(argument: str) -> str:
    """Replace bytes that are no text, as the shell handed them over: no server could be told."""
    return argument.encode(errors="surrogateescape").decode(errors="replace")
