"""The control protocol as documents: a JSON Schema, and every message with its fields and bounds as Markdown.

Both are written from the message types (control_protocol.py), so they cannot tell anything else. No part of a
node imports this. `make control-protocol` writes them into docs/; a test compares.
"""

import inspect
import json
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec.inspect import (
    BoolType,
    BytesType,
    Field,
    FloatType,
    IntType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from .base import CONTROL_LIMIT
from .control_protocol import Reply, Request

BEGIN = "<!-- What follows, up to the end mark, is written by `make control-protocol`. -->"
END = "<!-- End of what is written by `make control-protocol`. -->"
_WIDTH = 118
_REQUESTS: tuple[type[msgspec.Struct], ...] = get_args(Request)
_REPLIES: tuple[type[msgspec.Struct], ...] = get_args(Reply)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of every message, as the map that its MessagePack stands for.

    A binary string is what JSON Schema has no word for: here it is a string with `contentEncoding` `binary`,
    and `x-minBytes` and `x-maxBytes` bound its length.
    """
    definitions = {type_.__name__: _struct_schema(type_) for type_ in _all_structs()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Control socket of spacedrive-node",
        "description": f"Each message is one MessagePack map of at most {CONTROL_LIMIT} bytes behind its "
        "length, a big-endian u32 (docs/control-protocol.md).",
        "oneOf": [{"$ref": "#/$defs/Request"}, {"$ref": "#/$defs/Reply"}],
        "$defs": {
            "Request": {"oneOf": [_reference(type_) for type_ in _REQUESTS]},
            "Reply": {"oneOf": [_reference(type_) for type_ in _REPLIES]},
            **definitions,
        },
    }


def markdown() -> str:
    """Return every message with its fields, their types, bounds and defaults."""
    parts = [
        "## Requests",
        *(_message_text(type_) for type_ in _REQUESTS),
        "## Replies and events",
        *(_message_text(type_) for type_ in _REPLIES),
        "## Records",
        "They stand within messages: maps without a tag.",
        *(_message_text(type_) for type_ in _all_structs() if type_ not in _REQUESTS + _REPLIES),
    ]
    return "\n\n".join([BEGIN, *parts, END])


def with_messages(document: str) -> str:
    """Return the document with the part between the marks written anew."""
    before, _, rest = document.partition(BEGIN)
    return before + markdown() + rest.partition(END)[2]


def _all_structs() -> list[type[msgspec.Struct]]:
    """Return the messages, and the records within them, each once."""
    found: list[type[msgspec.Struct]] = []

    def visit(type_: Type) -> None:
        if isinstance(type_, StructType) and type_.cls not in found:
            found.append(type_.cls)
            for field in type_.fields:
                visit(field.type)
        elif isinstance(type_, VarTupleType):
            visit(type_.item_type)
        elif isinstance(type_, UnionType):
            for part in type_.types:
                visit(part)

    for message in _REQUESTS + _REPLIES:
        visit(type_info(message))
    return found


def _info(type_: type[msgspec.Struct]) -> StructType:
    info = type_info(type_)
    assert isinstance(info, StructType)
    return info


def _doc(type_: type[msgspec.Struct]) -> str:
    return inspect.cleandoc(type_.__doc__ or "")


# -- JSON Schema ---------------------------------------------------------------------------------------


def _reference(type_: type) -> dict[str, str]:
    return {"$ref": f"#/$defs/{type_.__name__}"}


def _struct_schema(type_: type[msgspec.Struct]) -> dict[str, Any]:
    info = _info(type_)
    properties: dict[str, Any] = {} if info.tag is None else {"t": {"const": info.tag}}
    for field in info.fields:
        properties[field.encode_name] = _type_schema(field.type)
        if not field.required and isinstance(field.default, str | int | float | bool | None):
            properties[field.encode_name]["default"] = field.default
    required = [field.encode_name for field in info.fields if field.required]
    return {
        "title": type_.__name__,
        "description": _doc(type_),
        "type": "object",
        "properties": properties,
        "required": required if info.tag is None else ["t", *required],
        "additionalProperties": False,
    }


def _type_schema(type_: Type) -> dict[str, Any]:
    match type_:
        case IntType() | FloatType():
            kind = "integer" if isinstance(type_, IntType) else "number"
            return {"type": kind, **_without_none(minimum=type_.ge, maximum=type_.le)}
        case StrType():
            bounds = _without_none(
                minLength=type_.min_length, maxLength=type_.max_length, pattern=type_.pattern
            )
            return {"type": "string", **bounds}
        case BytesType():
            bounds = _without_none(**{"x-minBytes": type_.min_length, "x-maxBytes": type_.max_length})
            return {"type": "string", "contentEncoding": "binary", **bounds}
        case BoolType():
            return {"type": "boolean"}
        case NoneType():
            return {"type": "null"}
        case LiteralType():
            return {"enum": sorted(map(str, type_.values))}
        case VarTupleType():
            return {
                "type": "array",
                "items": _type_schema(type_.item_type),
                **_without_none(maxItems=type_.max_length),
            }
        case StructType():
            return {**_reference(type_.cls)}
        case UnionType():
            return {"anyOf": [_type_schema(part) for part in type_.types]}
    raise TypeError(f"a field of the control protocol has a type without a schema: {type_}")


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


# -- Markdown ------------------------------------------------------------------------------------------


def _message_text(type_: type[msgspec.Struct]) -> str:
    paragraphs = [_wrapped(paragraph) for paragraph in _doc(type_).split("\n\n")]
    fields = [_field_text(field) for field in _info(type_).fields]
    return "\n\n".join([f"### {type_.__name__}", *paragraphs, "\n".join(fields)])


def _field_text(field: Field) -> str:
    text = f"- `{field.encode_name}`: {_type_text(field.type)}"
    if not field.required:
        default = field.default
        if default is msgspec.NODEFAULT:
            text += "; may be left out"
        elif default is not None:
            shown = "empty" if default in ("", b"", ()) else f"`{json.dumps(default)}`"
            text += f"; {shown} if left out"
        else:
            text += "; nil if left out"
    return _wrapped(text, "  ")


def _type_text(type_: Type) -> str:
    match type_:
        case IntType() | FloatType():
            kind = "integer" if isinstance(type_, IntType) else "number"
            return kind + _range_text(type_.ge, type_.le, "")
        case StrType(pattern=str(pattern)):
            return f"text that matches `{pattern}`"
        case StrType():
            return "text" + _range_text(type_.min_length, type_.max_length, " characters")
        case BytesType():
            return "binary" + _range_text(type_.min_length, type_.max_length, " bytes")
        case BoolType():
            return "boolean"
        case NoneType():
            return "nil"
        case LiteralType():
            return "one of " + ", ".join(f"`{value}`" for value in sorted(map(str, type_.values)))
        case VarTupleType():
            bound = "" if type_.max_length is None else f" of at most {type_.max_length}"
            return f"array{bound}, each: {_type_text(type_.item_type)}"
        case StructType():
            return f"[{type_.cls.__name__}](#{type_.cls.__name__.lower()})"
        case UnionType():
            return ", or ".join(_type_text(part) for part in type_.types)
    raise TypeError(f"a field of the control protocol has a type without a text: {type_}")


def _range_text(least: float | None, most: float | None, unit: str) -> str:
    if least is None and most is None:
        return ""
    if least == most:
        return f" of {least}{unit}"
    return f", {least or 0} to {most}{unit}" if most is not None else f", at least {least}{unit}"


def _wrapped(text: str, indent: str = "") -> str:
    words = " ".join(text.split())
    return textwrap.fill(
        words, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def main(folder: Path) -> None:
    """Write the schema and the generated part of the document in this folder."""
    (folder / "control-protocol.schema.json").write_text(
        json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    )
    document = folder / "control-protocol.md"
    document.write_text(with_messages(document.read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
