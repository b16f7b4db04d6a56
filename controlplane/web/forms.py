"""Reads what a form of the console brings into a schema. Checks no form key: `guard` did."""

from __future__ import annotations

from typing import Annotated, TypeVar

import flask
import msgspec
from msgspec import Meta

from controlplane.api.reading import read_fields

#: A number of days; empty for no end.
Days = Annotated[str, Meta(pattern="^([1-9][0-9]{0,3})?$")]
Schema = TypeVar("Schema", bound=msgspec.Struct)


def read_form(schema: type[Schema]) -> Schema:
    """The form's fields, each at most once.

    Raises:
        ApiProblemError: a field that the schema does not have, twice the same, or a value out of bounds.
    """
    fields = [(name, values) for name, values in flask.request.form.lists() if name != "form_key"]
    return read_fields(fields, schema, "form")
