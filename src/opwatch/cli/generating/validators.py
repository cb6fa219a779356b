"""The validators of OpenAPI documents, without what a document could have them do."""

from __future__ import annotations

import functools
from typing import Any


class _All(dict[str, Any]):
    """A map that claims to have every key: then no file is fetched, and no schema is visited."""

    def __contains__(self, key: object) -> bool:
        return True


@functools.cache
def validators() -> dict[str, Any]:
    """The validators of OpenAPI by its version, without what a spec could have them do: fetch a
    file, try a pattern on a default, or follow the same `allOf` again and again."""
    # 0.4 s, not for `load`
    from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

    return {"3.0": _closed(OpenAPIV30SpecValidator), "3.1": _closed(OpenAPIV31SpecValidator)}


def _closed(kind: Any) -> Any:
    known: Any = kind.keyword_validators["schema"]

    class Schema(known):  # type: ignore[misc]
        def __init__(self, registry: Any) -> None:
            super().__init__(registry)
            self.visited_schema_ids = _All()  # JSON Schema checks what is inside of one

    closed = {
        "resolver_handlers": _All(),
        "keyword_validators": {
            **kind.keyword_validators,
            **{key: _headed(kind.keyword_validators[key]) for key in ("components", "response")},
            "schema": Schema,
        },
        "schema_validator": _crawled(kind.schema_validator.schema),
    }
    return type("Closed", (kind,), closed)


def _headed(known: Any) -> Any:
    """Return a validator of what may have headers that also looks at the schemas of these."""

    class Headed(known):  # type: ignore[misc]
        def __call__(self, *parts: Any) -> Any:
            yield from super().__call__(*parts)
            if "headers" in parts[-1]:
                for _, header in (parts[-1] / "headers").items():
                    yield from self.registry["parameter"](header)

    return Headed


def _crawled(schema: Any) -> Any:
    """Return a validator that knows where each part of its schema is. Others look for the anchors
    again for each reference, which takes three quarters of their time."""
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing import Resource

    resource = Resource.from_contents(schema)
    registry = REGISTRY.with_resource(resource.id() or "", resource).crawl()
    return validator_for(schema)(schema, registry=registry)
