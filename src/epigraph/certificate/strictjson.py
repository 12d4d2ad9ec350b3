"""JSON without surprises: no floats, NaN, duplicate keys, huge integers, lone surrogates or deep nesting."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from epigraph.certificate.codes import refuse

TOKEN_LIMIT = 4_000_000
INTEGER_DIGITS = 20


def loads(data: bytes, where: str) -> Any:
    """The value of a UTF-8 document; refuses with E403."""
    try:
        text = data.decode("utf-8", "strict")
        if sum(text.count(c) for c in ",[{") > TOKEN_LIMIT:
            refuse("E403", "too many values", where=where)
        value = json.loads(
            text, parse_float=_no_float, parse_int=_integer, parse_constant=_no_float, object_pairs_hook=_object
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8", "strict")  # a lone surrogate cannot be encoded
    except RecursionError:
        refuse("E403", "nested too deeply", where=where)
    except (ValueError, _Refused) as error:
        refuse("E403", "not strict JSON", where=where, why=str(error)[:200])
    return value


class _Refused(Exception):
    pass


def _no_float(text: str) -> NoReturn:
    raise _Refused(f"the number {text[:30]} is not an integer; floats are written as hexadecimal strings")


def _integer(text: str) -> int:
    if len(text) > INTEGER_DIGITS:
        raise _Refused("an integer of more than 20 characters")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a key occurs twice in one object")
    return found


def dumps(value: Any) -> bytes:
    """Canonical form: sorted keys, no spaces, ASCII; the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")
