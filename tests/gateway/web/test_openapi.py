"""The description of the API: OpenAPI 3.1, an example for every answer, and each example fits."""

import jsonschema_rs
import pytest

from joulemark_gateway.access.roles import Role
from joulemark_gateway.api import openapi
from support import guarded
from support.guarded import browser_of

WITHOUT = {  # what the filled state cannot show
    "GET /api/v1/projects/{project}/saving",
    "GET /api/v1/sites/{site}/systems/{system}",  # a house of two compressors or more
    "GET /api/v1/projects/{project}/files/{name}",  # a file
}


@pytest.fixture(scope="module")
def let_and_app(state, tmp_path_factory):
    with guarded.guarded(state, tmp_path_factory.mktemp("access")) as found:
        yield found


@pytest.fixture(scope="module")
def described(let_and_app):
    let, app = let_and_app
    return openapi.described(app._app, let.access.wanted)


def operations(described):
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_it_is_openapi_3_1(described):
    assert described["openapi"].startswith("3.1.")
    assert len(list(operations(described))) >= 50
    for name, operation in operations(described):
        assert operation["operationId"], name
        assert operation["description"], name


def test_everything_that_is_read_has_an_example(described):
    lacking = set()
    for name, operation in operations(described):
        media = operation["responses"].get("200", {}).get("content", {}).values()
        if name.startswith("GET ") and not any("example" in kind for kind in media):
            lacking.add(name)
    assert lacking == WITHOUT


def test_every_example_fits_what_it_is_an_example_of(described):
    tried = 0
    for name, operation in operations(described):
        contents = [answer.get("content", {}) for answer in operation["responses"].values()]
        contents.append(operation.get("requestBody", {}).get("content", {}))
        for kind in (kind for content in contents for kind in content.values()):
            if "example" in kind:
                schema = {**kind["schema"], "components": described["components"]}
                validator = jsonschema_rs.validator_for(schema)
                wrong = [error.message for error in validator.iter_errors(kind["example"])]
                assert not wrong, (name, wrong)
                tried += 1
    assert tried > 400


def test_every_refusal_has_one_and_says_what_to_do(described):
    for name, operation in operations(described):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and list(answer["content"]) == ["application/problem+json"]:
                example = answer["content"]["application/problem+json"]["example"]
                assert example["status"] == int(status), name
                assert "" not in {example["code"], example["detail"], example["do"]}, name


async def test_no_example_is_of_an_address_that_there_is_not(described, let_and_app):
    let, app = let_and_app
    assert set(openapi._read("examples.json")) <= {name for name, _ in operations(described)}
    async with browser_of(app) as client:
        told = (await client.get("/openapi.json", headers=let.header(Role.VIEWER))).json()
    assert told == described
