"""Where a statement of SQL ends.

In: text, as it was typed so far. Out: the statements that a semicolon has ended, and the rest.
Never: a semicolon inside a text, a quoted name or a comment taken for an end.
"""

from __future__ import annotations

import re

# In the order in which they are tried: what may hold a semicolon (closed, or open to the end of the
# text), and a semicolon that ends. ClickHouse's texts know \' and '', its $tags$ hold anything.
_PART = re.compile(
    r"""
      '(?:[^'\\]|\\.)*(?P<open_text>'|\Z|\\\Z)
    | "(?:[^"\\]|\\.)*(?P<open_name>"|\Z|\\\Z)
    | `(?:[^`\\]|\\.)*(?P<open_quote>`|\Z|\\\Z)
    | --[^\n]*
    | /\*.*?(?P<open_comment>\*/|\Z)
    | (?P<tag>\$\w*\$).*?(?:(?P=tag)|\Z)
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)


def split_statements(text: str) -> tuple[list[str], str]:
    """Return the statements that are ended, without their semicolons, and what stands behind.

    Statements and a rest that hold nothing but spaces and comments are left out.
    """
    statements, begin = [], 0
    for part in _PART.finditer(text):
        if part["end"]:
            statements.append(text[begin : part.start()])
            begin = part.end()
    rest = text[begin:]
    return [each.strip() for each in statements if says_something(each)], rest.strip()


def says_something(text: str) -> bool:
    """Tell whether a text is more than spaces and comments."""
    return bool(_COMMENT.sub("", text).strip())


def all_statements(text: str) -> list[str]:
    """Return every statement of a text; the last one need not be ended."""
    statements, rest = split_statements(text)
    return [*statements, rest] if says_something(rest) else statements
