"""The page of the API's reference, made of its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from projections.web.pages.render import render_page

router = APIRouter(include_in_schema=False)
#: An enumeration of more values is cut.
_MAX_SHOWN_VALUES: Final = 20
Schema = Mapping[str, Any]


class ReferenceField(NamedTuple):
    """A parameter of an endpoint, or a field of a document."""

    name: str
    where: str
    kind: str
    description: str
    is_required: bool
    example: str


class ReferenceEndpoint(NamedTuple):
    """An endpoint: its method and path, and what goes in and comes out."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    fields: list[ReferenceField]
    answers: list[tuple[str, str, str]]


@router.get("/api")
def show_reference(request: Request) -> HTMLResponse:
    """Show every endpoint of the API by subject, and the documents that they take and give."""
    document = request.app.openapi()
    endpoints: dict[str, list[ReferenceEndpoint]] = {each["name"]: [] for each in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            endpoints[operation["tags"][0]].append(_endpoint(path, method, operation))
    schemas = {
        name: list(_schema_fields(schema))
        for name, schema in sorted(document["components"]["schemas"].items())
    }
    return render_page(
        "reference", None, title="API", introduction=document["info"]["description"].split("\n\n"),
        subjects={each["name"]: each["description"] for each in document["tags"]},
        endpoints=endpoints, schemas=schemas, document_url=request.app.openapi_url,
    )  # fmt: skip


def type_text(schema: Schema) -> str:
    """Return the type of a value in words; a document is named as in the list of them."""
    text = "anything"
    match schema:
        case {"$ref": str(reference)}:
            text = reference.rpartition("/")[2]
        case {"enum": list(values)}:
            more = ", …" if len(values) > _MAX_SHOWN_VALUES else ""
            text = f"one of {', '.join(map(str, values[:_MAX_SHOWN_VALUES]))}{more}"
        case {"const": value}:
            text = str(value)
        case {"anyOf": list(kinds)} | {"oneOf": list(kinds)}:
            text = " or ".join(map(type_text, kinds))
        case {"type": "array", "items": items}:
            text = f"list of: {type_text(items)}"
        case {"type": str(kind)}:
            text = f"{kind} ({schema['format']})" if "format" in schema else kind
    return text


def _endpoint(path: str, method: str, operation: Schema) -> ReferenceEndpoint:
    fields = [
        _field(each["name"], each["in"], each["schema"], is_required=each["required"])
        for each in operation.get("parameters", [])
    ]
    if body := operation.get("requestBody"):
        fields.append(_field("(body)", "JSON", _content_schema(body), is_required=True))
    return ReferenceEndpoint(
        id=operation["operationId"], method=method.upper(), path=path,
        summary=operation["summary"], description=operation.get("description", ""), fields=fields,
        answers=[
            (status, answer["description"], type_text(_content_schema(answer)))
            for status, answer in sorted(operation["responses"].items())
        ],
    )  # fmt: skip


def _content_schema(holder: Schema) -> Schema:
    contents = [*holder.get("content", {}).values()]
    return contents[0].get("schema", {}) if contents else {}


def _schema_fields(schema: Schema) -> Iterator[ReferenceField]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        yield _field(name, "", field, is_required=name in required)


def _field(name: str, where: str, schema: Schema, *, is_required: bool) -> ReferenceField:
    examples = schema.get("examples", [schema["default"]] if schema.get("default") else [])
    example = next((str(each) for each in examples if each not in (None, "")), "")
    return ReferenceField(
        name, where, type_text(schema), schema.get("description", ""), is_required, example
    )
