from patinox.provider.secret import Secret

KEY = "sk-lm-abcdefgh:12345678901234567890"


def test_a_secret_never_prints() -> None:
    secret = Secret(KEY)
    shown = (str(secret), repr(secret), f"{secret}", f"{secret!r}", f"{[secret]}")
    assert not any(KEY in text for text in shown)


def test_a_secret_gives_its_value_when_asked() -> None:
    assert Secret(KEY).reveal() == KEY


def test_secrets_are_equal_by_value() -> None:
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) != Secret("another")
    assert Secret("ключ") == Secret("ключ")
    assert Secret(KEY) != KEY
    assert len({Secret(KEY), Secret(KEY)}) == 1


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret(KEY)
