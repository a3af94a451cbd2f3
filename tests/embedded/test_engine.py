"""The real engine in its child process: that it answers, and that nothing it does harms us."""

import asyncio
import importlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

import patinox
from patinox.embedded import Engine, EngineError, LocalModelFile, engine_available
from patinox.embedded import engine as engine_module

pytestmark = pytest.mark.engine

StandIn = Callable[[str], None]
ChangeDemo = Callable[[Callable[[bytes], bytes]], Path]

CHILD = Path(engine_module.__file__).with_name("child.py")
SOURCES = Path(patinox.__file__).parent.parent
HANGING_TEMPLATE = (
    b"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
)


async def ask(engine: Engine, path: str, body: object = None, *, key: str | None = None) -> Any:  # noqa: ANN401
    """The JSON of a reply, which must be a good one."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.request(
            "GET" if body is None else "POST",
            engine.url + path,
            json=body,
            headers={"Authorization": f"Bearer {key or engine.api_key}"},
        ) as reply,
    ):
        return await reply.json()


async def chat(engine: Engine, prompt: str) -> str:
    body = {"messages": [{"role": "user", "content": prompt}], "temperature": 0}
    reply = await ask(engine, "/v1/chat/completions", body)
    content: str = reply["choices"][0]["message"]["content"]
    return content


async def kill(engine: Engine) -> None:
    os.kill(engine.pid, signal.SIGKILL)
    await engine.wait_closed()


async def silence(reader: asyncio.StreamReader) -> None:
    """Return when the process at the other end of a connection is gone."""
    with suppress(ConnectionResetError):
        await reader.read()


def renamed(model: LocalModelFile, name: str) -> LocalModelFile:
    return msgspec.structs.replace(model, id=name)


def at(model: LocalModelFile, path: Path) -> LocalModelFile:
    """The model as if its file were another one, which nobody has checked."""
    return msgspec.structs.replace(model, id="changed", path=path)


def with_template(template: bytes) -> Callable[[bytes], bytes]:
    """Put another template in the place of that of the demo model."""

    def change(content: bytes) -> bytes:
        key = content.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template")
        start = key + 12  # type and length
        length = int.from_bytes(content[key + 4 : start], "little")
        return content[:start] + template.ljust(length) + content[start + length :]

    return change


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put a module of the test's own in the place of the engine's, for children only."""

    def write(source: str) -> None:
        (tmp_path / "xllamacpp.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return write


@pytest.fixture
def hanging(demo: LocalModelFile, change_demo: ChangeDemo) -> LocalModelFile:
    """A model whose chat template keeps the engine busy, holding the interpreter, as it loads."""
    return at(demo, change_demo(with_template(HANGING_TEMPLATE)))


# It answers


async def test_a_model_answers_chats_and_embeddings_on_one_server(demo: LocalModelFile) -> None:
    async with await Engine.start(demo) as engine:
        assert engine.alive
        assert engine.url.startswith("http://127.0.0.1:")
        assert await chat(engine, "What is 3 + 4?") == "3 + 4 = 7."
        embedded = await ask(engine, "/v1/embeddings", {"input": "the sky is blue"})
        assert len(embedded["data"][0]["embedding"]) == 128
        models = await ask(engine, "/v1/models")
        assert [model["id"] for model in models["data"]] == ["patinox-tiny"]


@pytest.mark.parametrize(("asked", "given"), [(None, 2048), (512, 512), (100_000, 2048)])
async def test_the_context_is_as_asked_for_within_what_the_model_knows(
    demo: LocalModelFile, asked: int | None, given: int
) -> None:
    async with await Engine.start(demo, context_length=asked) as engine:
        models = await ask(engine, "/v1/models")
        assert models["data"][0]["meta"]["n_ctx"] == given


@pytest.mark.parametrize(
    ("info", "projector", "present", "absent"),
    [
        ({}, None, "--context=4096 --batch=512 --mean-pooling", "--projector"),
        ({"pooling_type": "last"}, None, "--context=4096 --batch=4096", "--mean-pooling"),
        ({}, Path("mmproj.gguf"), "--projector=mmproj.gguf --mean-pooling", "--none"),
    ],
    ids=["chat model", "embedding model", "vision model"],
)
async def test_the_child_is_told_what_the_model_needs(
    demo: LocalModelFile,
    stand_in: StandIn,
    info: dict[str, str],
    projector: Path | None,
    present: str,
    absent: str,
) -> None:
    stand_in("import sys\nraise ImportError(' '.join(a for a in sys.argv if 'load-s' not in a))")
    assert demo.info is not None
    large = msgspec.structs.replace(demo.info, context_length=131_072, **info)
    with pytest.raises(EngineError) as caught:
        await Engine.start(msgspec.structs.replace(demo, info=large, projector=projector))
    assert present in caught.value.reason
    assert absent not in caught.value.reason


async def test_two_models_are_served_side_by_side(demo: LocalModelFile) -> None:
    async with await Engine.start(demo) as one, await Engine.start(renamed(demo, "other")) as two:
        assert one.url != two.url
        assert one.api_key != two.api_key
        assert await chat(one, "Hello!") == await chat(two, "Hello!")


# It is private


async def test_without_the_key_nothing_is_served(demo: LocalModelFile) -> None:
    async with await Engine.start(demo) as engine:
        for path in ("/v1/models", "/props", "/metrics"):
            with pytest.raises(aiohttp.ClientResponseError, match="401"):
                await ask(engine, path, key="another")
        with pytest.raises(aiohttp.ClientResponseError, match="404"):
            await ask(engine, "/")


async def test_the_key_is_not_in_a_repr(demo: LocalModelFile) -> None:
    async with await Engine.start(demo) as engine:
        assert engine.api_key not in repr(engine)
        assert repr(engine) == f"<Engine 'patinox-tiny' at {engine.url}, pid {engine.pid}, alive>"


async def test_the_key_is_not_left_where_the_engine_could_show_it(
    demo: LocalModelFile, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "the-key")
    stand_in("import os, sys\nraise ImportError(f'{sys.argv} {dict(os.environ)}')")
    with pytest.raises(EngineError, match=r"child\.py") as caught:
        await Engine.start(demo)
    assert "the-key" not in caught.value.reason


async def test_prompts_are_not_in_the_log(demo: LocalModelFile) -> None:
    async with await Engine.start(demo) as engine:
        await chat(engine, "Xyzzy is the secret.")
        with pytest.raises(aiohttp.ClientResponseError, match="400"):
            await ask(engine, "/v1/chat/completions", {"messages": "Xyzzy"})
        await kill(engine)
        assert engine.failure is not None
        assert engine.failure.log
        assert "Xyzzy" not in "\n".join(engine.failure.log)


# It fails in words


async def test_a_file_known_to_be_broken_is_not_even_tried(demo: LocalModelFile) -> None:
    broken = msgspec.structs.replace(demo, info=None, error="an empty file")
    with pytest.raises(EngineError, match="'patinox-tiny' cannot be loaded: an empty file; ") as e:
        await Engine.start(broken)
    assert (e.value.kind, e.value.reason) == ("bad_file", "an empty file")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content[: len(content) // 2], "corrupted or incomplete"),
        (lambda content: content[:200], "exceeds remaining file size"),
        (lambda content: b"XXXX" + content[4:], "invalid magic"),
        (lambda _: b"", "failed to read magic"),
        (lambda content: content.replace(b"llama", b"lxama"), "unknown model architecture"),
        (with_template(b"{% if %}"), "templates_init: error: Unexpected token"),
    ],
    ids=["truncated", "header only", "wrong magic", "empty", "unknown kind", "bad template"],
)
async def test_a_bad_file_is_an_error_with_the_reason_of_the_engine(
    demo: LocalModelFile,
    change_demo: ChangeDemo,
    change: Callable[[bytes], bytes],
    reason: str,
) -> None:
    path = change_demo(change)
    with pytest.raises(EngineError) as caught:
        await Engine.start(at(demo, path))
    assert caught.value.kind == "bad_file"
    assert reason in caught.value.reason
    assert caught.value.log
    assert str(caught.value) == (
        f"'changed' cannot be loaded: {caught.value.reason}; "
        f"download it again or choose another model ({path})"
    )


async def test_an_engine_that_aborts_takes_nobody_with_it(
    demo: LocalModelFile, change_demo: ChangeDemo
) -> None:
    def without_blocks(content: bytes) -> bytes:
        value = content.index(b"llama.block_count") + len(b"llama.block_count") + 4
        return content[:value] + bytes(4) + content[value + 4 :]

    with pytest.raises(EngineError, match=r"ended with SIGABRT: GGML_ASSERT\(.*damaged") as caught:
        await Engine.start(at(demo, change_demo(without_blocks)))
    assert caught.value.kind == "crashed"


async def test_a_load_that_hangs_ends_with_the_timeout(hanging: LocalModelFile) -> None:
    with pytest.raises(EngineError, match=r"was not ready in 0\.3 s; allow more time") as caught:
        await Engine.start(hanging, timeout=0.3)
    assert caught.value.kind == "timeout"


async def test_a_killed_engine_says_how_it_ended(demo: LocalModelFile) -> None:
    async with await Engine.start(demo) as engine:
        assert engine.failure is None
        body = {"prompt": "Count to 9", "max_tokens": 500, "stream": True, "ignore_eos": True}
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {engine.api_key}"}
            url = f"{engine.url}/v1/completions"
            async with session.post(url, json=body, headers=headers) as reply:
                await reply.content.readline()
                await kill(engine)
        assert not engine.alive
        assert engine.failure is not None
        assert engine.failure.kind == "crashed"
        assert "ended with SIGKILL" in str(engine.failure)
        assert repr(engine).endswith("ended>")


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        ("No module named 'xllamacpp'", 'pip install "patinox[embedded]"'),
        ("libgomp.so.1: cannot open shared object file", "apt install libgomp1"),
    ],
)
async def test_an_engine_that_cannot_be_imported_says_what_to_install(
    demo: LocalModelFile,
    stand_in: StandIn,
    failure: str,
    advice: str,
) -> None:
    stand_in(f"raise ImportError({failure!r})")
    with pytest.raises(EngineError) as caught:
        await Engine.start(demo)
    assert (caught.value.kind, caught.value.reason) == ("not_installed", failure)
    assert advice in str(caught.value)


async def test_an_engine_of_another_release_is_an_error_with_its_reason(
    demo: LocalModelFile, stand_in: StandIn
) -> None:
    stand_in("def CommonParams(): raise TypeError('renamed')")
    with pytest.raises(EngineError, match="ended with exit code 1: TypeError: renamed; look at"):
        await Engine.start(demo)


async def test_a_program_that_prints_is_an_error_with_what_it_printed(
    demo: LocalModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text("print('Some banner')")
    monkeypatch.setattr(engine_module, "_CHILD", child)
    with pytest.raises(EngineError, match="exit code 0: Some banner; look at the log"):
        await Engine.start(demo)


async def test_a_packaged_application_is_not_started_again_as_an_engine(
    demo: LocalModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(EngineError, match="has no Python to run it"):
        await Engine.start(demo)


async def test_a_python_that_cannot_be_run_is_an_error(
    demo: LocalModelFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(EngineError, match="No such file"):
        await Engine.start(demo)


def test_whether_the_engine_is_there_is_known_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine_available()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not engine_available()
    (tmp_path / "xllamacpp.py").write_text("raise SystemExit")
    importlib.invalidate_caches()
    assert engine_available()


# It leaves no process behind


async def test_stopping_ends_the_process_and_twice_does_nothing(demo: LocalModelFile) -> None:
    engine = await Engine.start(demo)
    assert engine.alive
    await engine.stop()
    await engine.stop()
    assert not engine.alive
    assert engine.failure is None
    with pytest.raises(ProcessLookupError):
        os.kill(engine.pid, 0)


async def test_a_child_that_does_not_listen_is_killed(
    demo: LocalModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_STOP_SECONDS", 0.05)
    engine = await Engine.start(demo)
    os.kill(engine.pid, signal.SIGSTOP)
    await engine.stop()
    assert not engine.alive


async def test_a_start_that_is_cancelled_leaves_no_child(
    demo: LocalModelFile, stand_in: StandIn
) -> None:
    children: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    async with await asyncio.start_server(
        lambda *child: children.put_nowait(child), "127.0.0.1", 0
    ) as server:
        port = server.sockets[0].getsockname()[1]
        stand_in(f"import socket\nsocket.create_connection(('127.0.0.1', {port})).recv(1)")
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(Engine.start(demo))
            from_child, to_child = await children.get()
            starting.cancel()
            await silence(from_child)
            to_child.close()
    assert starting.cancelled()


async def test_a_child_does_not_outlive_a_parent_that_is_killed() -> None:
    program = (
        "import asyncio, patinox.embedded as e\n"
        "async def main():\n"
        "    engine = await e.Engine.start(e.demo_model())\n"
        "    print(engine.url, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert parent.stdout is not None
    url = (await parent.stdout.readline()).decode().strip()
    host, _, port = url.removeprefix("http://").partition(":")
    engine, to_engine = await asyncio.open_connection(host, int(port))
    parent.kill()
    await parent.wait()
    await silence(engine)
    to_engine.close()


def test_a_child_whose_load_hangs_ends_without_its_parent(hanging: LocalModelFile) -> None:
    arguments = ("--alias=m", "--context=512", "--batch=512", "--load-seconds=0.3")
    ended = subprocess.run(
        [sys.executable, "-P", CHILD, f"--model={hanging.path}", *arguments],
        env={**os.environ, "PATINOX_ENGINE_KEY": "key"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert ended.returncode == 1
    assert b"Timeout" in ended.stderr
