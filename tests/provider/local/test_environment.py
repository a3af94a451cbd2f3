import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from patinox.provider.config import Anthropic, LMStudio, Local, Ollama, OpenAI, OpenRouter
from patinox.provider.local import configfile
from patinox.provider.local.config import EndpointConfig, LocalProviderConfig
from patinox.provider.local.configfile import Document
from patinox.provider.local.environment import (
    Overrides,
    default_files,
    environment_table,
    explain,
    load_config,
    load_settings,
)
from patinox.provider.local.errors import InvalidConfiguration
from patinox.provider.local.variables import VARIABLES, endpoint_variable
from patinox.provider.secret import Secret
from patinox.provider.types import ModelId

ANY = "0.0.0.0"
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")


def endpoints(config: LocalProviderConfig) -> dict[str, tuple[str | None, str]]:
    """Each address with its service and what named it."""
    return {str(each.endpoint): (each.service, each.setting) for each in config.endpoints}


def fates(environ: dict[str, str], file: Path | None = None) -> dict[str, str]:
    return {told.name: told.fate for told in explain(environ, file=file)}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


# Without settings.


def test_nothing_set_gives_the_defaults_and_the_local_provider() -> None:
    settings = load_settings({})
    assert settings.config == LocalProviderConfig()
    assert settings.defaults.provider == Local()
    assert (settings.file, settings.warnings) == (None, ())


def test_without_an_environment_that_of_the_process_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATINOX_MODEL_DEFAULT", "mine")
    assert load_config().default_model == "mine"
    assert [told.fate for told in explain() if told.name == "PATINOX_MODEL_DEFAULT"] == ["used"]


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_an_empty_variable_counts_as_not_set(variable: msgspec.Struct) -> None:
    name = str(msgspec.structs.asdict(variable)["name"])
    assert load_settings({name: " "}) == load_settings({})
    assert fates({name: ""}) == {name: "ignored: empty is not set"}


# Addresses.


@pytest.mark.parametrize(
    ("environ", "url", "service", "setting"),
    [
        ({"OLLAMA_HOST": ANY}, "http://127.0.0.1:11434", "ollama", "OLLAMA_HOST"),
        ({"OLLAMA_HOST": ":1"}, "http://127.0.0.1:1", "ollama", "OLLAMA_HOST"),
        ({"OLLAMA_HOST": "a", "OLLAMA_ENDPOINT": "b"}, "http://b:11434", "ollama", None),
        ({"LMSTUDIO_ENDPOINT": "host"}, "http://host:1234", "lmstudio", "LMSTUDIO_ENDPOINT"),
        ({"LLAMACPP_ENDPOINT": "host"}, "http://host:8080", "llamacpp", "LLAMACPP_ENDPOINT"),
        ({"LLAMA_ARG_PORT": "81"}, "http://127.0.0.1:81", "llamacpp", "LLAMA_ARG_PORT"),
        (
            {"LLAMA_ARG_PORT": "81", "LLAMA_ARG_HOST": "::1"},
            "http://[::1]:81",
            "llamacpp",
            "LLAMA_ARG_PORT",
        ),
        (
            {"LLAMA_ARG_PORT": "81", "LLAMACPP_ENDPOINT": "host"},
            "http://host:8080",
            "llamacpp",
            None,
        ),
        ({"LOCAL_ENDPOINT": "host:9"}, "http://host:9", None, "LOCAL_ENDPOINT"),
    ],
)
def test_a_variable_gives_an_address(
    environ: dict[str, str], url: str, service: str | None, setting: str | None
) -> None:
    ((found, told),) = endpoints(load_config(environ)).items()
    assert found == url
    assert told == (service, setting or next(name for name in environ if "ENDPOINT" in name))


def test_an_address_given_twice_by_the_environment_is_one_server() -> None:
    environ = {"LOCAL_ENDPOINT": "host:11434", "OLLAMA_ENDPOINT": "host"}
    assert endpoints(load_config(environ)) == {"http://host:11434": ("ollama", "OLLAMA_ENDPOINT")}


def test_the_host_of_llamacpp_alone_is_no_address() -> None:
    assert load_config({"LLAMA_ARG_HOST": ANY}).endpoints == ()
    assert "only together" in fates({"LLAMA_ARG_HOST": ANY})["LLAMA_ARG_HOST"]


def test_a_further_service_brings_its_own_variable() -> None:
    more = [endpoint_variable("VLLM_ENDPOINT", "vllm"), endpoint_variable("OLLAMA_HOST", "x")]
    environ = {"VLLM_ENDPOINT": "host:8000", "OLLAMA_HOST": "h"}
    assert endpoints(load_config(environ, more=more)) == {
        "http://host:8000": ("vllm", "VLLM_ENDPOINT"),
        "http://h:11434": ("ollama", "OLLAMA_HOST"),
    }
    assert [row.name for row in environment_table(more)].count("OLLAMA_HOST") == 1
    assert {told.fate for told in explain(environ, more=more)} == {"used"}


# Keys.


def test_a_key_for_ollama_is_used_only_for_a_configured_address(tmp_path: Path) -> None:
    key = {"OLLAMA_API_KEY": "hunter2"}
    assert load_config(key).ollama.api_key is None
    assert fates(key) == {"OLLAMA_API_KEY": "ignored: `ollama.endpoint` is not configured"}
    assert load_config({**key, "OLLAMA_HOST": "host"}).ollama.api_key == Secret("hunter2")
    for text in ("[ollama]\nendpoint='host'", "[[endpoints]]\nurl='host'\nservice='ollama'"):
        file = write(tmp_path / "p.toml", text)
        assert load_config(key, file=file).ollama.api_key == Secret("hunter2")


def test_the_first_key_for_lm_studio_that_is_not_blank_is_used() -> None:
    environ = {
        "LM_API_TOKEN": " ",
        "LMSTUDIO_API_TOKEN": "first",
        "LM_API_KEY": "second",
        "LMSTUDIO_API_KEY": "third",
    }
    assert load_config(environ).lmstudio.api_key == Secret("first")
    assert fates(environ) == {
        "LM_API_TOKEN": "ignored: empty is not set",
        "LMSTUDIO_API_TOKEN": "used",
        "LM_API_KEY": "overruled by LMSTUDIO_API_TOKEN",
        "LMSTUDIO_API_KEY": "overruled by LMSTUDIO_API_TOKEN",
    }


def test_a_key_for_llamacpp_is_the_one_its_server_reads() -> None:
    assert load_config({"LLAMA_API_KEY": "key"}).llamacpp.api_key == Secret("key")


@pytest.mark.parametrize("name", [each.name for each in VARIABLES if each.secret])
def test_a_key_is_never_shown(name: str) -> None:
    environ = {
        name: "hunter2 x",
        "OLLAMA_HOST": "host",
        "PATINOX_MODEL_PROVIDER": name.partition("_")[0].lower(),
    }
    told = [each for each in explain(environ) if each.name == name]
    assert told[0].value == "***"
    assert told[0].fate.startswith(f"wrong: {name}: ")
    assert "hunter2" not in str(told)


@pytest.mark.parametrize("name", ["OLLAMA_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"])
def test_a_key_alone_changes_nothing(name: str) -> None:
    assert load_settings({name: "key"}) == load_settings({})


# Other values.


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "OFF", " False "])
def test_a_flag_can_be_said_in_many_ways(text: str) -> None:
    assert load_config({"LOCAL_AUTO_DISCOVER": text}).auto_discover is False
    assert load_config({"PATINOX_ALLOW_CLOUD": text}).allow_cloud is False


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "YES"])
def test_the_cloud_is_allowed_by_a_flag(text: str) -> None:
    assert load_config({"PATINOX_ALLOW_CLOUD": text}).allow_cloud is True


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), ("2.5 s", 2.5)])
def test_the_timeout_holds_for_every_service(text: str, seconds: float, tmp_path: Path) -> None:
    file = write(tmp_path / "p.toml", "[ollama]\ntimeout = 7\n[provider]\ntimeout = 8")
    settings = load_settings({"PATINOX_MODEL_TIMEOUT": text}, file=file)
    services = ("ollama", "lmstudio", "llamacpp", "embedded")
    assert {settings.config.for_service(each).timeout for each in services} == {seconds}
    assert settings.defaults.timeout == seconds


def test_paths_are_a_list_and_those_of_lm_studio_are_added(tmp_path: Path) -> None:
    environ = {
        "LOCAL_MODELS_PATH": f" ~ {os.pathsep}{os.pathsep}~/b",
        "LMSTUDIO_MODELS_PATH": "/lmstudio",
        "HOME": "/home/me",
    }
    paths = ["/home/me", "/home/me/b", "/lmstudio"]
    assert load_config(environ).model_paths == tuple(map(Path, paths))
    file = write(tmp_path / "p.toml", "model_paths = ['/in/file']")
    assert load_config(environ, file=file).model_paths == tuple(map(Path, paths))
    del environ["LOCAL_MODELS_PATH"]
    paths = ["/in/file", "/lmstudio"]
    assert load_config(environ, file=file).model_paths == tuple(map(Path, paths))


def test_the_engine_inside_knows_the_home_and_ollamas_models(tmp_path: Path) -> None:
    environ = {"HOME": "/home/me", "OLLAMA_MODELS": "/theirs"}
    embedded = load_config(environ).embedded
    assert (embedded.home, embedded.ollama_models) == (Path("/home/me"), Path("/theirs"))
    environ["OLLAMA_MODELS_PATH"] = "~/ours"
    assert load_config(environ).embedded.ollama_models == Path("/home/me/ours")
    file = write(tmp_path / "p.toml", "[embedded]\nhome = 'here'\nollama_models = '~/there'")
    embedded = load_config({"HOME": "/home/me"}, file=file).embedded
    assert (embedded.home, embedded.ollama_models) == (tmp_path / "here", Path("/home/me/there"))


def test_a_path_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    environ = {"LOCAL_MODELS_PATH": f"{tmp_path}{os.pathsep}{tmp_path / 'away'}"}
    warning = f"There is no {tmp_path / 'away'}, where models should be."
    assert load_settings(environ).warnings == (warning,)


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b"])
def test_a_path_that_cannot_be_is_a_warning(path: str, tmp_path: Path) -> None:
    (told,) = load_settings({"LOCAL_MODELS_PATH": path}).warnings
    assert told == f"There is no {path}, where models should be."
    file = write(tmp_path / "p.toml", f"model_paths = ['{path}']".replace("\0", "\\u0000"))
    file.write_text(file.read_text().replace("'", '"'))
    (told,) = load_settings({}, file=file).warnings
    assert told == f"There is no {tmp_path / path}, where models should be."


def test_a_home_that_is_not_known_leaves_the_path_as_it_is() -> None:
    assert load_config({"LOCAL_MODELS_PATH": "~/a"}).model_paths == (Path("~/a"),)
    windows = {"LOCAL_MODELS_PATH": "~/a", "USERPROFILE": "/me"}
    assert load_config(windows).model_paths == (Path("/me/a"),)


def test_the_default_model_and_the_preference_are_read() -> None:
    environ = {
        "PATINOX_MODEL_DEFAULT": "ollama::qwen3:4b",
        "LOCAL_PROVIDER_PREFERENCE": "LMStudio",
    }
    settings = load_settings(environ)
    assert settings.config.preferred_service == "lmstudio"
    assert settings.config.default_model == "ollama::qwen3:4b"
    assert settings.defaults.model == ModelId("qwen3:4b", "ollama")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("OLLAMA_HOST", "host:66000", "host:port"),
        ("OLLAMA_ENDPOINT", "ftp://host", "host:port"),
        ("LMSTUDIO_ENDPOINT", "a b", "host:port"),
        ("LLAMACPP_ENDPOINT", "host:x", "host:port"),
        ("LLAMA_ARG_PORT", "0", "host:port"),
        ("LOCAL_ENDPOINT", "host:x", "host:port"),
        ("LOCAL_AUTO_DISCOVER", "maybe", "true, 1, yes, on, false, 0, no, off"),
        ("PATINOX_ALLOW_CLOUD", "2", "true"),
        ("LOCAL_PROVIDER_PREFERENCE", "olama", "ollama, lmstudio, llamacpp, embedded, auto"),
        ("PATINOX_MODEL_PROVIDER", "llamacpp", "local, ollama, lmstudio, openai"),
        ("PATINOX_MODEL_TIMEOUT", "abc", "30s"),
        ("PATINOX_MODEL_TIMEOUT", "0", "above 0"),
        ("PATINOX_MODEL_TIMEOUT", "-1", "above 0"),
        ("PATINOX_MODEL_TIMEOUT", "1e9", "86400"),
        ("PATINOX_MODEL_TIMEOUT", "NaN", "above 0"),
        ("PATINOX_MODEL_TIMEOUT", "90000", "86400"),
        ("PATINOX_MODEL_DEFAULT", "::x", "service::model"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable_and_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load_config({name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} is ")
    assert value in message
    assert allowed in message
    assert fates({name: value}) == {name: f"wrong: {message}"}


def test_a_wrong_value_that_is_overruled_does_no_harm() -> None:
    environ = {"OLLAMA_HOST": "host:66000", "OLLAMA_ENDPOINT": "host"}
    assert list(endpoints(load_config(environ))) == ["http://host:11434"]
    assert fates(environ)["OLLAMA_HOST"] == "overruled by OLLAMA_ENDPOINT"


# The provider.


@pytest.mark.parametrize(
    ("environ", "provider"),
    [
        ({"OLLAMA_ENDPOINT": "host"}, Ollama(endpoint="http://host:11434")),
        ({"LMSTUDIO_ENDPOINT": "host"}, LMStudio(endpoint="http://host:1234")),
        (
            {"LMSTUDIO_ENDPOINT": "a", "OLLAMA_ENDPOINT": "b"},
            Ollama(endpoint="http://b:11434"),
        ),
        ({"OLLAMA_ENDPOINT": "host", "LOCAL_PROVIDER_PREFERENCE": "llamacpp"}, Local()),
        ({"OLLAMA_HOST": ANY}, Local()),
        ({"LOCAL_ENDPOINT": "host"}, Local()),
        ({"LOCAL_AUTO_DISCOVER": "no"}, Local(auto_discover=False)),
        ({"PATINOX_MODEL_PROVIDER": "local", "OLLAMA_ENDPOINT": "host"}, Local()),
        ({"PATINOX_MODEL_PROVIDER": "ollama"}, Ollama()),
        (
            {"PATINOX_MODEL_PROVIDER": "ollama", "OLLAMA_HOST": "host"},
            Ollama(endpoint="http://host:11434"),
        ),
        ({"PATINOX_MODEL_PROVIDER": "LMSTUDIO", "OLLAMA_ENDPOINT": "host"}, LMStudio()),
        (
            {
                "PATINOX_MODEL_PROVIDER": "openai",
                "OPENAI_API_KEY": "key",
                "PATINOX_OPENAI_BASE_URL": "https://host/v1",
            },
            OpenAI(api_key=Secret("key"), base_url="https://host/v1"),
        ),
        ({"PATINOX_MODEL_PROVIDER": "openrouter"}, OpenRouter()),
        (
            {"PATINOX_MODEL_PROVIDER": "anthropic", "ANTHROPIC_API_KEY": "key"},
            Anthropic(api_key=Secret("key")),
        ),
    ],
)
def test_what_is_set_chooses_the_provider(environ: dict[str, str], provider: object) -> None:
    assert load_settings(environ).defaults.provider == provider


def test_the_environment_chooses_the_provider_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "p.toml", "[provider]\ndefault = 'lmstudio'")
    chosen = load_settings({"OLLAMA_ENDPOINT": "host"}, file=file).defaults.provider
    assert chosen == LMStudio()
    chosen = load_settings({"PATINOX_MODEL_PROVIDER": "local"}, file=file).defaults.provider
    assert chosen == Local()


@pytest.mark.parametrize("kind", ["ollama", "lmstudio"])
def test_the_chosen_provider_may_use_the_cloud_if_all_may(kind: str) -> None:
    environ = {"PATINOX_MODEL_PROVIDER": kind, "PATINOX_ALLOW_CLOUD": "1"}
    provider = load_settings(environ).defaults.provider
    assert isinstance(provider, Ollama | LMStudio)
    assert provider.config.allow_cloud


# The file.


EXAMPLE = """
auto_discover = false
preferred_service = "attic"
model_paths = ["models", "~/more", "/abs"]
default_model = "qwen3:4b"
allow_cloud = true
connection_pool_size = 8
monitor = false

[discovery]
enabled_services = ["ollama"]
discovery_timeout = 3
[discovery.health_check]
interval = 10

[ollama]
endpoint = "192.168.1.5"
api_key = "hunter2"
timeout = 60
custom_params = { num_ctx = 8192 }
[ollama.deadlines]
first_token = 120

[lmstudio]
use_openai_compat = true
streaming = false

[llamacpp]
endpoint = "host:9931"

[embedded]
cache_ttl = 0

[[endpoints]]
url = "http://10.0.0.7:8000"
service = "llamacpp"
name = "attic"
[[endpoints]]
url = "http://10.0.0.8:8000"

[provider]
timeout = 300
[provider.openai]
api_key = "hunter2"
organization = "us"
"""


def test_a_file_sets_everything(tmp_path: Path) -> None:
    file = write(tmp_path / "p.toml", EXAMPLE)
    settings = load_settings({"HOME": "/home/me"}, file=file)
    config = settings.config
    assert settings.file == file
    assert (config.auto_discover, config.allow_cloud, config.monitor) == (False, True, False)
    assert (config.preferred_service, config.default_model) == ("attic", "qwen3:4b")
    assert config.model_paths == (tmp_path / "models", Path("/home/me/more"), Path("/abs"))
    assert config.connection_pool_size == 8
    assert config.discovery_config.enabled_services == ("ollama",)
    assert config.discovery_config.discovery_timeout == 3
    assert config.discovery_config.health_check.interval == 10
    assert config.ollama.api_key == Secret("hunter2")
    assert config.ollama.custom_params == {"num_ctx": 8192}
    assert config.ollama.deadlines.first_token == 120
    assert config.lmstudio.use_openai_compat
    assert not config.lmstudio.streaming
    assert config.embedded.cache_ttl == 0
    assert (config.ollama.timeout, config.lmstudio.timeout) == (60, 300)
    assert endpoints(config) == {
        "http://192.168.1.5:11434": ("ollama", f"`ollama.endpoint` in {file}"),
        "http://host:9931": ("llamacpp", f"`llamacpp.endpoint` in {file}"),
        "http://10.0.0.7:8000": ("llamacpp", f"`endpoints.url` in {file}"),
        "http://10.0.0.8:8000": (None, f"`endpoints.url` in {file}"),
    }
    assert [each.name for each in config.endpoints] == [None, None, "attic", None]


def test_the_example_in_the_documentation_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    _, _, example = str(configfile.__doc__).partition("\n\n    ")
    text = "\n".join(line[4:] for line in f"    {example}".split("\n\nAn unknown")[0].splitlines())
    config = load_config({}, file=write(tmp_path / "p.toml", text))
    assert [each.name for each in config.endpoints] == [None, "attic"]
    assert tomllib.loads(text).keys() == {*Document.__struct_fields__} - {
        *("lmstudio", "llamacpp", "embedded")
    }


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "p.toml", EXAMPLE)
    environ = {
        "LOCAL_AUTO_DISCOVER": "yes",
        "LOCAL_PROVIDER_PREFERENCE": "auto",
        "OLLAMA_HOST": "h",
        "LOCAL_ENDPOINT": "http://10.0.0.8:8000",
    }
    config = load_config(environ, file=file)
    assert (config.auto_discover, config.preferred_service) == (True, "auto")
    assert endpoints(config) == {
        "http://h:11434": ("ollama", "OLLAMA_HOST"),
        "http://10.0.0.8:8000": (None, "LOCAL_ENDPOINT"),
        "http://host:9931": ("llamacpp", f"`llamacpp.endpoint` in {file}"),
        "http://10.0.0.7:8000": ("llamacpp", f"`endpoints.url` in {file}"),
    }


def test_arguments_win_over_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path / "p.toml", "monitor = false")
    environ = {"LOCAL_AUTO_DISCOVER": "no", "PATINOX_MODEL_DEFAULT": "a", "OLLAMA_HOST": "h"}
    given = (EndpointConfig.parse("other"),)
    config = load_config(
        environ, file=file, auto_discover=True, default_model=None, endpoints=given
    )
    assert (config.auto_discover, config.default_model, config.monitor) == (True, "a", False)
    assert config.endpoints == given


def test_a_wrong_argument_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="connection_pool_size"):
        load_config({}, connection_pool_size=0)


def test_every_setting_can_be_given_by_file_and_as_an_argument() -> None:
    fields = {*LocalProviderConfig.__struct_fields__}
    assert {*get_type_hints(Overrides)} == fields
    assert {*Document.__struct_fields__} == (fields - {"discovery_config"}) | {
        *("discovery", "provider")
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("autodiscover = true", "no key `autodiscover`; did you mean `auto_discover`? Allowed: "),
        ("xyz = 1", "there is no key `xyz`. Allowed: auto_discover, "),
        ("[olama]", "did you mean `ollama`?"),
        ("[ollama]\ntimeuot = 1", "no key `ollama.timeuot`; did you mean `ollama.timeout`?"),
        ("[embedded]\nendpoint = 'x'", "no key `embedded.endpoint`"),
        ("[discovery.health_check]\nintervall = 1", "mean `discovery.health_check.interval`?"),
        ("[[endpoints]]\nurl = 'a'\nport = 1", "there is no key `endpoints.port`"),
        ("[provider.openai]\nkey = 'a'", "there is no key `provider.openai.key`"),
        ("auto_discover = 'yes'", "`auto_discover`: Expected `bool`, got `str`."),
        ("model_paths = 'x'", "`model_paths`: Expected `array`, got `str`."),
        ("model_paths = [1]", "`model_paths[0]`: Expected `str`, got `int`."),
        ("[ollama]\ntimeout = '1'", "`ollama.timeout`: Expected `float`, got `str`."),
        ("ollama = 1", "`ollama`: Expected `object`, got `int`."),
        ("[ollama]\napi_key = 5", "`ollama.api_key`: Expected `str`, got `int`."),
        ("[[endpoints]]\nservice = 'x'", "Object missing required field `url`"),
        ("endpoints = [1]", "`endpoints[0]`: Expected `object`, got `int`."),
        ("[ollama]\ntimeout = 0", "ollama: `timeout` is 0; allowed: seconds above 0"),
        ("[ollama]\ntimeout = nan", "ollama: `timeout` is nan; allowed:"),
        ("[discovery.health_check]\ninterval = inf", "discovery: `health_check.interval` is inf"),
        ("connection_pool_size = 0", "`connection_pool_size` is 0; allowed: a whole number"),
        ("default_model = ''", "`default_model` is ''"),
        ("preferred_service = 'olama'", "'olama'; allowed: ollama, lmstudio, llamacpp"),
        ("[ollama]\nendpoint = 'h:x'", "`ollama.endpoint` in "),
        ("[[endpoints]]\nurl = 'h:x'", "`endpoints.url` in "),
        ("[[endpoints]]\nurl = 'h'\nname = 'a b'", "`name` is 'a b'"),
        ("[[endpoints]]\nurl='h'\n[[endpoints]]\nurl='h:80'", "'http://h:80' is given twice"),
        ("[provider]\ndefault = 'vllm'", "`provider.default` is 'vllm'; allowed: local, "),
        ("[provider]\ntimeout = -1", "provider: `timeout` is -1"),
        ("a = ", "is not TOML: "),
        ("a = 1\na = 2", "is not TOML: "),
        ("\x00", "is not TOML: "),
    ],
)
def test_a_wrong_file_is_told_with_its_path_and_key(
    tmp_path: Path, text: str, message: str
) -> None:
    file = write(tmp_path / "p.toml", text)
    with pytest.raises(InvalidConfiguration) as caught:
        load_settings({}, file=file)
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "[ollama]\ncustom_params." + ".".join("a" * 5000) + " = 1",
        "[x." + ".".join("a" * 5000) + "]",
    ],
)
def test_a_file_that_is_nested_without_end_is_told(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "p.toml", text)
    with pytest.raises(InvalidConfiguration, match=r"p\.toml"):
        load_config({}, file=file)


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(InvalidConfiguration, match="is not TOML"):
        load_config({}, file=file)


def test_a_file_saved_by_a_windows_editor_is_read(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_bytes(b"\xef\xbb\xbfmonitor = false\r\n")
    assert not load_config({}, file=file).monitor


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read: ") as caught:
        load_config({}, file=tmp_path)
    assert str(tmp_path) in str(caught.value)


@posix
@pytest.mark.parametrize(
    ("text", "mode", "warned"),
    [
        ("[ollama]\napi_key = 'a'", 0o644, True),
        ("[ollama]\napi_key = 'a'", 0o640, True),
        ("[ollama]\napi_key = 'a'", 0o600, False),
        ("[provider.openai]\napi_key = 'a'", 0o644, True),
        ("[[endpoints]]\nurl = 'a'", 0o644, False),
        ("", 0o644, False),
    ],
)
def test_a_key_that_others_can_read_is_a_warning(
    tmp_path: Path,
    text: str,
    mode: int,
    warned: bool,  # noqa: FBT001
) -> None:
    file = write(tmp_path / "p.toml", text)
    file.chmod(mode)
    warnings = load_settings({}, file=file).warnings
    assert bool(warnings) is warned
    assert all(f"chmod 600 {file}" in warning for warning in warnings)


def test_the_file_is_the_argument_or_the_variable_or_the_users(tmp_path: Path) -> None:
    users = write(tmp_path / "config" / "patinox" / "patinox.toml", "default_model = 'users'")
    named = write(tmp_path / "named.toml", "default_model = 'named'")
    given = write(tmp_path / "given.toml", "default_model = 'given'")
    environ = {"XDG_CONFIG_HOME": str(users.parent.parent), "HOME": str(tmp_path)}
    environ["APPDATA"] = environ["XDG_CONFIG_HOME"]
    assert load_config(environ).default_model == "users"
    environ["PATINOX_CONFIG"] = "~/named.toml"
    assert load_settings(environ).file == named
    assert fates(environ)["PATINOX_CONFIG"] == "used"
    assert load_config(environ, file=given).default_model == "given"
    assert fates(environ, given)["PATINOX_CONFIG"] == "overruled by the file argument"


def test_the_users_file_need_not_be_there_but_a_named_one_must(tmp_path: Path) -> None:
    occupied = write(tmp_path / "occupied", "")
    for folder in (tmp_path, occupied):
        assert load_settings({"XDG_CONFIG_HOME": str(folder), "APPDATA": str(folder)}).file is None
    missing = tmp_path / "missing.toml"
    message = f"The configuration file {missing} is not there."
    with pytest.raises(InvalidConfiguration, match=re.escape(message)):
        load_config({"PATINOX_CONFIG": str(missing)})
    with pytest.raises(InvalidConfiguration, match=re.escape(message)):
        load_config({}, file=missing)
    environ = {"PATINOX_CONFIG": str(missing), "OLLAMA_HOST": "h"}
    assert fates(environ) == {"PATINOX_CONFIG": f"wrong: {message}", "OLLAMA_HOST": "used"}


@pytest.mark.parametrize(
    ("platform", "environ", "files"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, ["/x/patinox/patinox.toml"]),
        ("linux", {"XDG_CONFIG_HOME": "x", "HOME": "/h"}, ["/h/.config/patinox/patinox.toml"]),
        ("linux", {"HOME": "/h"}, ["/h/.config/patinox/patinox.toml"]),
        ("linux", {}, []),
        (
            "darwin",
            {"HOME": "/h"},
            [
                "/h/.config/patinox/patinox.toml",
                "/h/Library/Application Support/patinox/patinox.toml",
            ],
        ),
        ("darwin", {}, []),
        ("win32", {"APPDATA": "/a", "XDG_CONFIG_HOME": "/x"}, ["/a/patinox/patinox.toml"]),
        ("win32", {}, []),
    ],
)
def test_the_users_file_is_where_the_platform_keeps_such_files(
    platform: str, environ: dict[str, str], files: list[str]
) -> None:
    assert default_files(environ, platform) == tuple(map(Path, files))


def test_an_empty_environment_shuts_out_the_users_file() -> None:
    assert default_files({}, sys.platform) == ()


# What became of each variable.


def test_each_variable_that_is_set_is_explained() -> None:
    environ = {
        "OLLAMA_ENDPOINT": "http://me:hunter2@host",
        "OLLAMA_HOST": ANY,
        "LMSTUDIO_API_KEY": "hunter2",
        "LLAMACPP_ENDPOINT": "h",
        "LLAMA_ARG_PORT": "81",
        "LLAMA_ARG_HOST": "::1",
        "OPENAI_API_KEY": "hunter2",
        "LOCAL_MODELS_PATH": "/m@x",
        "OLLAMA_MODELS_PATH": "/n",
        "PATINOX_MODEL_DEFUALT": "hunter2",
        "PATINOX_XYZZY": "1",
        "PATH": "/bin",
    }
    told = explain(environ)
    assert "hunter2" not in str(told)
    values = {each.name: each.value for each in told}
    assert values["LOCAL_MODELS_PATH"] == "/m@x"
    assert values["OLLAMA_ENDPOINT"] == "http://***@host"
    by_name = fates(environ)
    assert by_name.pop("OLLAMA_ENDPOINT").startswith("wrong: OLLAMA_ENDPOINT is 'http://***@host'")
    assert by_name == {
        "OLLAMA_HOST": "overruled by OLLAMA_ENDPOINT",
        "LMSTUDIO_API_KEY": "used",
        "LLAMACPP_ENDPOINT": "used",
        "LLAMA_ARG_PORT": "overruled by LLAMACPP_ENDPOINT",
        "LLAMA_ARG_HOST": "overruled by LLAMACPP_ENDPOINT",
        "OPENAI_API_KEY": "ignored: a key or an address alone never selects a cloud provider",
        "LOCAL_MODELS_PATH": "used",
        "OLLAMA_MODELS_PATH": "used",
        "PATINOX_MODEL_DEFUALT": (
            "ignored: there is no such variable; did you mean PATINOX_MODEL_DEFAULT?"
        ),
        "PATINOX_XYZZY": "ignored: there is no such variable",
    }


def test_a_host_read_with_its_port_is_used() -> None:
    environ = {"LLAMA_ARG_PORT": "81", "LLAMA_ARG_HOST": "::1"}
    assert set(fates(environ).values()) == {"used"}


def test_a_broken_file_does_not_stop_the_explanation(tmp_path: Path) -> None:
    file = write(tmp_path / "p.toml", "a = ")
    environ = {"PATINOX_CONFIG": str(file), "LOCAL_AUTO_DISCOVER": "1"}
    assert fates(environ)["PATINOX_CONFIG"].startswith(f"wrong: {file} is not TOML")
    assert fates(environ)["LOCAL_AUTO_DISCOVER"] == "used"


def test_the_table_names_each_variable_once_and_says_what_it_is_for() -> None:
    rows = environment_table()
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    assert {
        *("OLLAMA_ENDPOINT", "OLLAMA_HOST", "OLLAMA_API_KEY", "OLLAMA_MODELS_PATH"),
        *("LMSTUDIO_ENDPOINT", "LMSTUDIO_MODELS_PATH", "LM_API_TOKEN", "LLAMACPP_ENDPOINT"),
        *("LOCAL_ENDPOINT", "LOCAL_MODELS_PATH", "LOCAL_PROVIDER_PREFERENCE"),
        *("LOCAL_AUTO_DISCOVER", "PATINOX_CONFIG", "PATINOX_MODEL_PROVIDER"),
        *("PATINOX_MODEL_DEFAULT", "PATINOX_MODEL_TIMEOUT", "PATINOX_ALLOW_CLOUD"),
        *("PATINOX_OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "ANTHROPIC_API_KEY"),
    } <= {*names}
    assert all(row.allowed and row.description for row in rows)


def test_each_variable_stands_for_a_key_of_the_file() -> None:
    for variable in VARIABLES:
        if variable.sets:
            struct: object = Document()
            for key in variable.sets.split("."):
                struct = getattr(struct, key)


WRONG = (
    *("5", "-1", "1.5", "nan", "inf", '"x"', '""', "true", "[]", "[1]", '["x"]', "{ a = 1 }"),
    *("2020-01-01", "99999999999999999999", '"a\\u0000b"', '"http://x:99999"'),
)


def keys(kind: type[msgspec.Struct], before: str = "") -> Iterator[str]:
    """Every key that a file may have, tables and what is in them."""
    for field in msgspec.structs.fields(kind):
        yield before + field.encode_name
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                yield from keys(inner, f"{before}{field.encode_name}.")


@pytest.mark.parametrize("key", [*keys(Document)])
def test_whatever_stands_at_a_key_is_taken_or_told_with_the_file_and_the_key(
    tmp_path: Path, key: str
) -> None:
    file, refused = tmp_path / "patinox.toml", 0
    table, _, name = key.rpartition(".")
    for wrong in WRONG:
        written = f"{key} = {wrong}\n"
        if table == "endpoints":
            address = "" if name == "url" else 'url = "h:1"\n'
            written = f"[[endpoints]]\n{address}{name} = {wrong}\n"
        file.write_text(written, encoding="utf-8")
        try:
            load_settings({}, file=file)
        except InvalidConfiguration as error:
            refused += 1
            told = str(error)
            assert str(file) in told
            assert name in told
            assert "\n" not in told
    assert refused
