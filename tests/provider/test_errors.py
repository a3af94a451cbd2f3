import inspect
import re
from types import ModuleType

import pytest

from patinox.provider import errors
from patinox.provider.errors import (
    CapabilityNotSupported,
    ContextLengthExceeded,
    ModelMismatch,
    ProviderError,
    RateLimited,
)


def drawn(module: ModuleType, root: str) -> dict[str, str]:
    """Read the tree in the docstring of a module: each error with the one it hangs on."""
    parents, above = dict[str, str](), [(-1, root)]
    for edge, name in re.findall(r"^([| ]*)[|`]- (\w+)", module.__doc__ or "", re.MULTILINE):
        above = [(column, kind) for column, kind in above if column < len(edge)]
        parents[name] = above[-1][1]
        above.append((len(edge), name))
    return parents


def real(module: ModuleType) -> dict[str, type[ProviderError]]:
    return {
        name: kind
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, ProviderError) and kind.__module__ == module.__name__
    }


def test_the_tree_is_as_it_is_drawn() -> None:
    parents = drawn(errors, "ProviderError")
    kinds = real(errors)
    assert {*parents, "ProviderError"} == {*kinds}
    assert {name: kinds[name].__bases__ for name in parents} == {
        name: (kinds[parent],) for name, parent in parents.items()
    }


@pytest.mark.parametrize("kind", real(errors).values())
def test_an_error_says_what_happened_and_what_to_do_next(kind: type[ProviderError]) -> None:
    error = kind("It broke.", hint="Mend it.", service="ollama", status=418)
    assert str(error) == "ollama: It broke. Mend it."
    assert (error.message, error.hint) == ("It broke.", "Mend it.")
    assert (error.service, error.status) == ("ollama", 418)
    assert (error.retry_after, error.delivered) == (None, False)
    assert error.args == ("It broke.",)


def test_only_what_a_server_replied_is_said_to_be_its_word() -> None:
    assert str(ProviderError("It broke.", status=500)) == "It broke."
    assert str(ProviderError("Owl broke.", service="owl")) == "Owl broke."


@pytest.mark.parametrize("hint", [None, ""])
def test_an_error_without_a_hint_says_what_happened(hint: str | None) -> None:
    assert str(ProviderError("It broke.", hint=hint)) == "It broke."


@pytest.mark.parametrize("kind", real(errors).values())
def test_another_server_may_do_better_where_this_one_is_at_fault(kind: type[ProviderError]) -> None:
    assert kind("It broke.").retryable is (kind in {RateLimited, ModelMismatch})


def test_whether_to_try_again_can_be_said_of_one_error() -> None:
    assert ProviderError("It broke.", retryable=True, retry_after=2.5).retryable
    assert ProviderError("It broke.", retry_after=2.5).retry_after == 2.5
    assert not RateLimited("It broke.", retryable=False).retryable
    assert RateLimited("Another.").retryable


def test_the_lengths_are_kept() -> None:
    error = ContextLengthExceeded("Too long.", prompt_tokens=9, context_tokens=8)
    assert (error.prompt_tokens, error.context_tokens) == (9, 8)
    unknown = ContextLengthExceeded("Too long.")
    assert (unknown.prompt_tokens, unknown.context_tokens) == (None, None)


def test_what_a_model_cannot_do_is_a_wrong_request() -> None:
    with pytest.raises(errors.InvalidRequest):
        raise CapabilityNotSupported("It cannot.")
