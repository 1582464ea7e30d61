"""The API itself: its routers, its document, and the page that shows it."""

from __future__ import annotations

from typing import Any

from ninja import NinjaAPI
from ninja.openapi.docs import Swagger

from annotation.api import exports, models, people, projects, results, review, rows, steps, uploads, webhooks
from annotation.api.access import PageAuth, TokenAuth
from annotation.api.bodies import JsonParser
from annotation.api.errors import STATUS_CODES, Refusal, add_handlers

ROUTERS = tuple(
    module.router
    for module in (projects, uploads, models, steps, rows, review, results, exports, people, webhooks)
)


class Api(NinjaAPI):
    def get_openapi_schema(self, **options: Any) -> Any:
        """The document, in which every operation may answer with a refusal."""
        document = super().get_openapi_schema(**options)
        document["components"]["schemas"]["Refusal"] = Refusal.json_schema()
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
        refusals = {
            status: {"description": code, "content": content} for status, code in STATUS_CODES.items()
        }
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"] = {**refusals, **operation["responses"]}
        return document


api = Api(
    title="CORAL",
    version="1",
    description="What the pages can do, for programs. Make a token on the page “API tokens” of your account.",
    urls_namespace="api",
    # By default the page would ask a server on the internet whether the document is valid.
    docs=Swagger(settings={"validatorUrl": None, "docExpansion": "none", "filter": True}),
    auth=[TokenAuth(), PageAuth()],
    parser=JsonParser(),
)
add_handlers(api)
for router in ROUTERS:
    api.add_router("", router)

urlpatterns = api.urls[0]
