"""Pictures: what is taken, what is refused, and what becomes of it for a server."""

import base64
import io
import re
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patinox.provider.errors import ConfigurationError, InvalidRequest
from patinox.provider.images import MAX_BYTES, Image

PNG, JPEG, GIF = "image/png", "image/jpeg", "image/gif"
KINDS = {"PNG": PNG, "JPEG": JPEG, "WEBP": "image/webp", "GIF": GIF, "BMP": "image/bmp"}


def drawn(kind: str, mode: str = "RGB", colour: tuple[float, ...] | float = 0) -> bytes:
    """Draw a small picture of one colour."""
    file = io.BytesIO()
    PIL.Image.new(mode, (8, 6), colour).save(file, kind)
    return file.getvalue()


def seen(image: Image) -> PIL.Image.Image:
    with PIL.Image.open(io.BytesIO(image.data)) as picture:
        picture.load()
    assert picture.get_format_mimetype() == image.media_type
    return picture


SMALL = {kind: drawn(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_read_from_the_bytes(kind: str) -> None:
    image = Image.of(SMALL[kind])
    assert image.media_type == KINDS[kind]
    assert image == Image(SMALL[kind], KINDS[kind]) == Image(SMALL[kind])


def test_a_name_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(SMALL["JPEG"])
    assert Image.of(path).media_type == JPEG
    assert Image.of(str(path)) == Image.of(path)


def test_whatever_holds_a_picture_is_taken() -> None:
    data = SMALL["PNG"]
    image = Image.of(data)
    assert image.data == data
    assert Image.of(image) is image
    assert Image.of(bytearray(data)) == Image.of(memoryview(data)) == image
    assert Image.of(image.data_url) == image
    assert Image.of("DATA:whatever/it-says;x=y;BASE64," + image.base64) == image
    assert hash(Image.of(data)) == hash(image)


def test_it_is_written_as_servers_take_it() -> None:
    image = Image.of(SMALL["GIF"])
    assert base64.b64decode(image.base64) == image.data
    assert image.data_url == f"data:image/gif;base64,{image.base64}"


def test_it_tells_its_kind_and_size_and_shows_nothing() -> None:
    assert repr(Image.of(SMALL["PNG"])) == f"<Image image/png, {len(SMALL['PNG'])} bytes>"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("https://example.com/a.png", "on the web is not fetched. Download it and give its bytes"),
        ("HTTP://example.com/a.png", "A picture on the web is not fetched."),
        ("data:image/png,abc", "must hold base64: `data:image/png;base64,...`."),
        ("data:image/png;base64", "must hold base64"),
        ("data:image/png;base64,a?==", "is not base64: "),
        ("data:image/png;base64,iVBORw0K\ud800", "is not base64: "),
        ("data:image/png;base64,", "0 bytes are not a picture that is known. PNG, JPEG, WebP"),
        ("no/such/file.png", "There is no file 'no/such/file.png'."),
        ("no\0such", r"There is no file 'no\x00such'."),
        (Path(), "There is no file '.'."),
        ("iVBORw0K" * 1000, "A text of 8,000 characters is no path of a picture. Give base64 as"),
        ("x" * 4000, "cannot be read: "),
        (b"", "0 bytes are not a picture that is known."),
        (b"%PDF-1.7", "8 bytes are not a picture that is known."),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "16 bytes are not a picture that is known."),
        (b"BMW builds cars and bikes", "25 bytes are not a picture that is known."),
        (7, "A picture is bytes, a path or a `data:` URL, not int."),
        (None, "not NoneType."),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_picture_is_refused(value: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(why)):
        Image.of(value)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"%PDF-1.7")
    why = f"The file {str(file)!r}: 8 bytes are not a picture that is known. PNG, "
    with pytest.raises(InvalidRequest, match=re.escape(why)):
        Image.of(file)


def test_a_picture_of_another_kind_than_said_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="bytes are not image/png but image/jpeg"):
        Image(SMALL["JPEG"], PNG)
    with pytest.raises(InvalidRequest, match="must be bytes, not str"):
        Image("abc")  # type: ignore[arg-type]  # that is what is tested


def test_32_mib_are_taken_and_not_a_byte_more(tmp_path: Path) -> None:
    largest = SMALL["PNG"].ljust(MAX_BYTES, b"\0")
    assert len(Image.of(largest).data) == MAX_BYTES
    assert len(Image.of(Image.of(largest).data_url).data) == MAX_BYTES
    path = tmp_path / "large.png"
    path.write_bytes(largest + b"\0")
    url = "data:image/png;base64," + base64.b64encode(largest + b"\0\0\0\0").decode()
    for value in (largest + b"\0", path, url):
        with pytest.raises(InvalidRequest, match=r"The picture is larger than 32 MiB\. Make it sm"):
            Image.of(value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_the_server_takes_is_left_as_it_is(kind: str) -> None:
    image = Image.of(SMALL[kind])
    assert image.as_one_of([PNG, KINDS[kind]]) is image


@pytest.mark.parametrize("target", [PNG, JPEG])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("WEBP", "RGB"),
        ("GIF", "P"),
        ("GIF", "L"),
        ("BMP", "1"),
        ("BMP", "RGB"),
        ("PNG", "RGB"),
        ("PNG", "I;16"),
        ("PNG", "LA"),
        ("JPEG", "CMYK"),
    ],
)
def test_another_kind_becomes_one_that_the_server_takes(kind: str, mode: str, target: str) -> None:
    image = Image.of(drawn(kind, mode))
    made = image.as_one_of({target})
    assert made.media_type == target
    assert seen(made).size == (8, 6)


def test_png_is_made_where_both_are_taken() -> None:
    assert Image.of(SMALL["WEBP"]).as_one_of([JPEG, PNG]).media_type == PNG


def test_what_is_transparent_stays_so_in_png_and_is_white_in_jpeg() -> None:
    clear = Image.of(drawn("WEBP", "RGBA", (255, 0, 0, 0)))
    assert seen(clear.as_one_of([PNG])).getchannel("A").getpixel((0, 0)) == 0
    assert seen(clear.as_one_of([JPEG])).getpixel((0, 0)) == (255, 255, 255)


def test_of_a_picture_that_moves_the_first_frame_is_kept() -> None:
    file = io.BytesIO()
    frames = [PIL.Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    still = seen(Image.of(file.getvalue()).as_one_of([PNG]))
    assert still.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    assert not getattr(still, "is_animated", False)


def test_a_picture_taken_on_its_side_is_turned_upright() -> None:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    PIL.Image.new("RGB", (8, 6)).save(file, "JPEG", exif=exif)
    made = seen(Image.of(file.getvalue()).as_one_of([PNG]))
    assert made.size == (6, 8)
    assert not made.getexif()


@pytest.mark.parametrize(
    ("side", "why"),
    [(8000, "is broken"), (8001, "has more than 64,000,000"), (9500, "has more than 64")],
)
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(side: int, why: str) -> None:
    data = bytearray(SMALL["BMP"])
    data[18:26] = struct.pack("<ii", side, side)
    with pytest.raises(InvalidRequest, match=why):
        Image.of(bytes(data)).as_one_of([PNG])


def test_a_bomb_is_refused() -> None:
    data = bytearray(SMALL["BMP"])
    data[18:26] = struct.pack("<ii", 40_000, 40_000)
    with pytest.raises(InvalidRequest, match=r"has more than 64,000,000 pixels\. Make it smaller"):
        Image.of(bytes(data)).as_one_of([PNG])


def test_a_broken_picture_is_refused_when_it_is_to_be_converted() -> None:
    broken = Image.of(SMALL["WEBP"][:-20])
    with pytest.raises(InvalidRequest, match=r"^The picture is broken: \d+ bytes of image/webp\.$"):
        broken.as_one_of([PNG])


@pytest.mark.parametrize(
    ("taken", "told"), [([], "no picture"), ([GIF, "image/avif"], "image/avif, image/gif")]
)
def test_a_server_that_takes_neither_png_nor_jpeg_is_told(taken: list[str], told: str) -> None:
    with pytest.raises(InvalidRequest, match=f"image/webp cannot be made one of: {told}"):
        Image.of(SMALL["WEBP"]).as_one_of(taken)


@given(st.sampled_from(["WEBP", "GIF", "BMP"]), st.data())
def test_damaged_bytes_are_a_picture_or_a_typed_error(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(SMALL[kind])
    for place, byte in data.draw(st.dictionaries(st.integers(0, 200), st.integers(0, 255))).items():
        damaged[place % len(damaged)] = byte
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with suppress(InvalidRequest):
        assert Image.of(cut).as_one_of([PNG]).media_type == PNG


WITHOUT = """
import sys
sys.modules["PIL"] = None
from patinox import ConfigurationError, Image
image = Image.of(bytes.fromhex(sys.argv[1]))
assert image.as_one_of([image.media_type]) is image
try:
    image.as_one_of(["image/png"])
except ConfigurationError as error:
    print(error)
"""


def test_pillow_is_needed_only_where_a_picture_must_be_converted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, SMALL["GIF"].hex()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == (
        "Turning image/gif into image/png needs the extra `vision`, which is not installed."
        ' Run: pip install "patinox[vision]"'
    )


def test_a_missing_pillow_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigurationError, match=r'pip install "patinox\[vision\]"'):
        Image.of(SMALL["GIF"]).as_one_of([PNG])
