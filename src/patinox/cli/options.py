"""The options and arguments that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Service = Annotated[
    str | None,
    typer.Option(
        "--service", "-s", metavar="NAME", help="Only this service: ollama, lmstudio, ..."
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The configuration file to read.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME", help="The model: NAME or SERVICE::NAME."),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="How long the whole call may take."),
]
System = Annotated[
    str | None, typer.Option("--system", metavar="TEXT", help="An instruction to the model.")
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", "-t", metavar="NUMBER", help="0 (sober) to 2 (wild)."),
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", metavar="NUMBER", help="The longest answer, in tokens."),
]
NumCtx = Annotated[
    int | None,
    typer.Option(
        "--num-ctx",
        min=1,
        metavar="NUMBER",
        help="Length of the context, in tokens; for Ollama, ignored elsewhere.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="NUMBER", help="The same seed may give the same answer."),
]
Reasoning = Annotated[
    str | None,
    typer.Option(
        "--reasoning",
        metavar="LEVEL",
        help="Whether or how much the model thinks first: on, off, or a level of its own (low).",
    ),
]
Images = Annotated[
    list[Path] | None,
    typer.Option("--image", metavar="FILE", help="A picture to look at; give it again for more."),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar="FILE",
        help="Answer in JSON that keeps to the JSON schema in this file; - is standard input.",
    ),
]
First = Annotated[str | None, typer.Argument(metavar="MODEL", hidden=True)]
Prompt = Annotated[list[str] | None, typer.Argument(metavar="PROMPT", hidden=True)]
