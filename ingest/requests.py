"""What the headers of a request say about its body, before it is read.

In: the headers by name. Out: the answer to a request that is refused, or None. Never: the body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.events import Reason
from ingest.answers import Answer, Problem, closing, error
from ingest.encodings import is_known

BODY_WITHIN_S, BATCH_WITHIN_S = 10, 60
# What `fetch`, `navigator.sendBeacon` and `curl -d` say; the body is JSON all the same.
TYPES = frozenset(
    {"", "application/json", "text/plain", "application/x-www-form-urlencoded"},
)
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
# As nearly all clients send it; other values are taken apart.
_USUAL = frozenset(
    {
        b"",
        b"application/json",
        b"application/json; charset=utf-8",
        b"text/plain;charset=UTF-8",
        b"application/x-www-form-urlencoded",
    }
)
_UNSUPPORTED_CHARSET = error(
    Problem.UNSUPPORTED_MEDIA_TYPE, "The charset of Content-Type must be utf-8"
)
UNSUPPORTED_ENCODING = error(
    Problem.UNSUPPORTED_ENCODING,
    "Content-Encoding must be one of gzip, deflate and zstd, once, or the body be sent as it is",
)


class Bodies:
    """Which bodies a route takes.

    Parameters: the most bytes, sent and unfolded; the media types, any if there are none; how long
    a body may take to arrive; and whether it may be gzip without a header that says so.
    """

    def __init__(
        self,
        most_bytes: int,
        types: frozenset[str] | None = TYPES,
        within_s: int = BODY_WITHIN_S,
        *,
        may_be_gzip: bool = False,
    ) -> None:
        self.most_bytes = most_bytes
        self.types = types
        self.within_s = within_s
        self.may_be_gzip = may_be_gzip
        self.over_limit = error(Reason.TOO_LARGE, f"The body has more than {most_bytes} bytes")
        named = ", ".join(sorted((types or TYPES) - {""}))
        self._unsupported_type = error(
            Problem.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be one of {named}, or none"
        )
        self._too_large = error(
            Reason.TOO_LARGE, f"Content-Length is over {most_bytes}, the most that is taken here"
        )
        self._digits = len(str(most_bytes)) - 1

    @property
    def refusals(self) -> tuple[Answer, ...]:
        """Every answer that is given to the headers alone."""
        of_the_type = (self._unsupported_type, _UNSUPPORTED_CHARSET) if self.types else ()
        return *of_the_type, UNSUPPORTED_ENCODING, self._too_large

    def refusal_of(
        self, headers: Mapping[bytes, bytes], listed: Sequence[tuple[bytes, bytes]]
    ) -> Answer | None:
        """Return the answer to a request whose body is not worth reading, or None.

        `headers` are those of the list, by name.
        """
        content_type = headers.get(b"content-type", b"")
        if content_type not in _USUAL and (refusal := self._refusal_of_type(content_type)):
            return refusal
        encoding = headers.get(b"content-encoding")
        if encoding is not None and not (
            is_known(encoding) and (len(headers) == len(listed) or _has_one_encoding(listed))
        ):
            return UNSUPPORTED_ENCODING
        length = headers.get(b"content-length")
        # uvicorn lets only digits through; few bodies have as many of them as the limit.
        if length is not None and len(length) > self._digits and int(length) > self.most_bytes:
            return self._too_large
        return None

    def _refusal_of_type(self, content_type: bytes) -> Answer | None:
        if self.types is None:
            return None
        media, charset = media_type_of(content_type)
        if media not in self.types:
            return self._unsupported_type
        return None if charset in _CHARSETS else _UNSUPPORTED_CHARSET


def media_type_of(content_type: bytes) -> tuple[str, str]:
    """Return the media type and the charset that a Content-Type names, utf-8 where it has none."""
    media, *parameters = content_type.decode("latin-1").lower().split(";")
    charset = "utf-8"
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _CHARSETS:
            charset = value.strip().strip('"')
    return media.strip(), charset


def without_body(answer: Answer, headers: Mapping[bytes, bytes]) -> Answer:
    """Return an answer that goes out before the body is read.

    Who waits to be asked for the body may send it or not; what comes next on the connection could
    be either.
    """
    return closing(answer) if b"expect" in headers else answer


def _has_one_encoding(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Tell whether a body was encoded once: two lines of Content-Encoding say it was not."""
    return sum(name == b"content-encoding" for name, _ in headers) == 1
