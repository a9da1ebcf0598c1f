"""What a person sent with a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from joulemark_gateway.api.problems import Problem, of_validation
from joulemark_gateway.web.wire import FORM

Model = TypeVar("Model", bound=BaseModel)
_MOST_FIELDS = 50


class Form:
    """The fields by name; what is missing is empty."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields.get(name, [""])[0]

    def words(self, name: str) -> list[str]:
        """The words of a field, and of all fields of this name."""
        return " ".join(self._fields.get(name, [])).replace(",", " ").split()

    def as_model(self, model: type[Model], values: Mapping[str, Any]) -> Model:
        """The values as the API takes them; Problem where it would not."""
        try:
            return model.model_validate(values)
        except ValidationError as error:
            rows = error.errors(include_url=False, include_input=False, include_context=False)
            located = [{**row, "loc": ("body", *row["loc"])} for row in rows]
            raise of_validation(located) from error


async def form_of(request: Request) -> Form:
    """The form of a request; the guard has read it and knows that it is small.

    Raises:
        Problem: it is of another kind.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM:
        raise Problem(415, "no_form", "The request is no form.", f"Send it as {FORM}.")
    try:
        body = (await request.body()).decode("ascii")
        return Form(parse_qs(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise Problem(
            422, "bad_form", "The form cannot be read.", "Open the page again and repeat it."
        ) from error


Sent = Annotated[Form, Depends(form_of)]
