"""Quoting for ClickHouse."""

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


def _quoted(text: str, mark: str) -> str:
    body = (f"\\{c}" if c == mark else _ESCAPES.get(c, c) for c in text)
    return mark + "".join(body) + mark


def quote_ident(name: str) -> str:
    return _quoted(name, "`")


def quote_string(text: str) -> str:
    return _quoted(text, "'")
