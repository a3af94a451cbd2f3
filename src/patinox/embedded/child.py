"""The child process of the engine inside: it serves one GGUF file over HTTP on 127.0.0.1.

llama.cpp aborts the whole process on some files and blocks all of its threads while it loads, so
it never runs in the user's interpreter. `patinox.embedded.engine` starts this file as a program
and speaks with it so:

- environment: `PATINOX_ENGINE_KEY` is the key that every request must show
- stdin: stays open for as long as the parent lives; at its end the child ends
- stdout: one line of JSON, `{"ready": url}` or `{"error": text, "kind": "import" or "load"}`
- stderr: the log of the engine

It imports nothing of Patinox, so that a small model is there in about a tenth of a second.
"""

import argparse
import faulthandler
import importlib
import json
import os
import signal
import sys
from typing import Any, Final, TextIO

_KEY_VARIABLE: Final = "PATINOX_ENGINE_KEY"
_PROMPT_CACHE_MIB: Final = 256  # the engine's own default is 8 GiB
_WARNINGS: Final = 2  # level of the log: prompts are not in it


def main() -> int:
    """Serve a model until stdin ends. The exit code is 0, or 1 if the model did not get ready."""
    options = _options()
    key = os.environ.pop(_KEY_VARIABLE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    # Loading holds the interpreter, so nothing written in Python could end a load that hangs.
    faulthandler.dump_traceback_later(options.load_seconds, exit=True)
    answers = _stdout_for_answers_only()
    try:
        server = _serve(options, key)
    except ImportError as error:
        return _fail(answers, "import", error)
    except (RuntimeError, ValueError) as error:
        return _fail(answers, "load", error)
    faulthandler.cancel_dump_traceback_later()
    _answer(answers, ready=server.listening_address)
    sys.stdin.buffer.read()
    os._exit(0)  # a generation that runs is not waited for


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve one GGUF model on 127.0.0.1.")
    parser.add_argument("--model", required=True, help="path of the GGUF file")
    parser.add_argument("--alias", required=True, help="name of the model in replies")
    parser.add_argument("--context", type=int, required=True, help="context length in tokens")
    parser.add_argument("--batch", type=int, required=True, help="tokens computed at once")
    parser.add_argument("--load-seconds", type=float, required=True, help="limit for loading")
    parser.add_argument("--projector", default="", help="path of the model's vision half")
    parser.add_argument("--mean-pooling", action="store_true", help="for embeddings")
    return parser.parse_args()


def _stdout_for_answers_only() -> TextIO:
    """Take stdout for ourselves, so that a library that prints cannot break the protocol."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, **fields: str) -> None:
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


def _fail(answers: TextIO, kind: str, error: Exception) -> int:
    _answer(answers, error=str(error), kind=kind)
    return 1


def _serve(options: argparse.Namespace, key: str) -> Any:  # noqa: ANN401 - the engine has no types
    """Load the model and start its server; the server lives for as long as the result does."""
    os.environ["GGML_NO_BACKTRACE"] = "1"  # else an abort takes seconds in a debugger
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait do not burn a core
    engine: Any = importlib.import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.mmproj.path = options.projector
    params.n_ctx = options.context
    params.n_batch = params.n_ubatch = options.batch
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.embedding = True
    if options.mean_pooling:
        params.pooling_type = engine.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    _close_all_doors(params, key)
    return engine.Server(params)


def _threads() -> int:
    """All cores but one: the parent, and the person, need one too."""
    return max(1, (os.cpu_count() or 1) - 1)


def _close_all_doors(params: Any, key: str) -> None:  # noqa: ANN401 - the engine has no types
    """Loopback only, with a key, without a page, downloads or a log of prompts."""
    params.port = 0
    params.api_keys = [key]
    params.offline = True
    params.verbosity = _WARNINGS
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.endpoint_metrics = True
    # These fields were named otherwise, or absent, in some releases.
    for name, value in {
        "hostnames": ["127.0.0.1"],
        "hostname": "127.0.0.1",
        "ui": False,
        "cors_origins": "http://127.0.0.1",
    }.items():
        if hasattr(params, name):
            setattr(params, name, value)


if __name__ == "__main__":
    sys.exit(main())
