"""Pictures for models that see: bytes of a known kind, and the kind that a server takes.

A kind is read from the bytes, never from a name; nothing is fetched. Pillow, of the extra
`vision`, is needed only where a server does not take the kind of a picture.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Collection
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import force_setattr

from patinox.provider.errors import InvalidRequest, missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 64_000_000  # 256 MB while it is converted
_LONGEST_PATH = 4096
_KINDS = {  # what a file begins with; for formats that wrap others, what follows 8 bytes later
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}  # bytes of the second header, by version
_TARGETS = {"image/png": "PNG", "image/jpeg": "JPEG"}  # what is written, the better first
_TAKEN = "PNG, JPEG, WebP, GIF and BMP"


class Image(msgspec.Struct, frozen=True):
    """A picture.

    Attributes:
        data: the file as it is, up to 32 MiB.
        media_type: `image/png`, `image/jpeg`, `image/webp`, `image/gif` or `image/bmp`; read
            from the data, so that it need not be given.

    Raises:
        InvalidRequest: the data is too large, is no picture of these kinds or not of this one.
    """

    data: bytes
    media_type: str = ""

    def __post_init__(self) -> None:
        """Read the kind, and refuse what no server could see."""
        if not isinstance(self.data, bytes):
            msg = f"The data of a picture must be bytes, not {type(self.data).__name__}."
            raise InvalidRequest(msg)
        if len(self.data) > MAX_BYTES:
            raise _too_large()
        kind = _sniff(self.data)
        if kind is None or self.media_type not in {"", kind}:
            what = f"not {self.media_type or 'a picture that is known'}"
            msg = f"{len(self.data):,} bytes are {what}{f' but {kind}' if kind else ''}."
            raise InvalidRequest(msg, hint=f"{_TAKEN} are known.")
        force_setattr(self, "media_type", kind)

    @classmethod
    def of(cls, value: Image | bytes | bytearray | memoryview | str | PathLike[str]) -> Image:
        """Take a picture's bytes, the path of its file, or a `data:` URL.

        A path is read here and now, and only here: before an event loop runs, or off it, with
        `await asyncio.to_thread(Image.of, path)`.

        Raises:
            InvalidRequest: it is none of these, there is no such file, or it is no picture;
                addresses on the web are refused, since nothing is fetched.
        """
        match value:
            case Image():
                return value
            case bytes() | bytearray() | memoryview():
                return cls(bytes(value))
            case str() if value[:5].lower() == "data:":
                return cls(_from_data_url(value))
            case str() if value[:8].lower().startswith(("http://", "https://")):
                msg = "A picture on the web is not fetched."
                raise InvalidRequest(msg, hint="Download it and give its bytes or its path.")
            case str() | PathLike():
                data = _from_file(value)
                try:
                    return cls(data)
                except InvalidRequest as error:
                    msg = f"The file {str(value)!r}: {error.message}"
                    raise InvalidRequest(msg, hint=error.hint) from None
            case _:
                msg = f"A picture is bytes, a path or a `data:` URL, not {type(value).__name__}."
                raise InvalidRequest(msg)

    @property
    def base64(self) -> str:
        """The data in base64, as Ollama takes it."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def data_url(self) -> str:
        """The data as a `data:` URL, as the OpenAI API takes it."""
        return f"data:{self.media_type};base64,{self.base64}"

    def as_one_of(self, media_types: Collection[str]) -> Image:
        """Return the picture in a kind that a server takes: as it is, or else as PNG or JPEG.

        Of one that moves the first frame is kept. Waiting: a large picture takes seconds.

        Raises:
            InvalidRequest: the data is broken, the picture has more than 64 million pixels, or
                the server takes neither PNG nor JPEG.
            ConfigurationError: it must be converted and the extra `vision` is not installed.
        """
        if self.media_type in media_types:
            return self
        target = next((kind for kind in _TARGETS if kind in media_types), None)
        if target is None:
            wanted = ", ".join(sorted(media_types)) or "no picture"
            msg = f"A picture of {self.media_type} cannot be made one of: {wanted}."
            raise InvalidRequest(msg)
        return Image(_converted(self, target))

    def __repr__(self) -> str:
        """Tell kind and size, not the picture."""
        return f"<Image {self.media_type}, {len(self.data):,} bytes>"


def _sniff(data: bytes) -> str | None:
    kind = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
    if kind == "image/webp" and data[8:12] != b"WEBP":
        return None
    if kind == "image/bmp" and int.from_bytes(data[14:18], "little") not in _BMP_HEADERS:
        return None
    return kind


def _too_large() -> InvalidRequest:
    msg = f"The picture is larger than {MAX_BYTES // 2**20} MiB."
    return InvalidRequest(msg, hint="Make it smaller: models see a few megapixels at most.")


def _from_data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        msg = "A `data:` URL of a picture must hold base64: `data:image/png;base64,...`."
        raise InvalidRequest(msg)
    if len(body) > MAX_BYTES * 4 // 3 + 4:
        raise _too_large()
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"The `data:` URL of a picture is not base64: {error}."
        raise InvalidRequest(msg) from error


def _from_file(value: str | PathLike[str]) -> bytes:
    path = Path(value)
    text = str(path)
    if len(text) > _LONGEST_PATH:
        msg = f"A text of {len(text):,} characters is no path of a picture."
        raise InvalidRequest(msg, hint="Give base64 as `data:image/png;base64,...`.")
    try:
        if not path.is_file():
            msg = f"There is no file {text!r}."
            raise InvalidRequest(msg)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        msg = f"The picture {text!r} cannot be read: {error.strerror}."
        raise InvalidRequest(msg) from error


def _converted(image: Image, target: str) -> bytes:
    try:
        from PIL import Image as pillow  # noqa: N813, PLC0415  an extra, and a class of ours
        from PIL import ImageOps  # noqa: PLC0415  an extra
    except ImportError as error:
        raise missing_extra(f"Turning {image.media_type} into {target}", "vision") from error
    kind = image.media_type.removeprefix("image/")
    try:
        with pillow.open(io.BytesIO(image.data), formats=[kind]) as picture:
            if picture.width * picture.height <= MAX_PIXELS:
                return _written(ImageOps.exif_transpose(picture), target)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # decoders of foreign bytes raise what they like
        msg = f"The picture is broken: {len(image.data):,} bytes of {image.media_type}."
        raise InvalidRequest(msg) from error
    raise _too_many_pixels()


def _too_many_pixels() -> InvalidRequest:
    msg = f"The picture has more than {MAX_PIXELS:,} pixels."
    return InvalidRequest(msg, hint="Make it smaller: models see a few megapixels at most.")


def _written(picture: Picture, target: str) -> bytes:
    """Write it; JPEG knows nothing transparent, which becomes white as on paper."""
    from PIL import Image as pillow  # noqa: N813, PLC0415  an extra, and a class of ours

    plain = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if target == "image/jpeg" and plain.mode == "RGBA":
        paper = pillow.new("RGBA", plain.size, "white")
        plain = pillow.alpha_composite(paper, plain).convert("RGB")
    file = io.BytesIO()
    plain.save(file, _TARGETS[target], quality=95)
    return file.getvalue()
