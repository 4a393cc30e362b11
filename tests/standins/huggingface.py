"""Hugging Face: an inference endpoint at an address of its own, and hf-inference behind the router."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins import pictures
from tests.standins.answering import Answer, Seen
from tests.standins.faults import Fault, Refused
from tests.standins.vendor import Vendor, refusal_is_charged

PARAMETERS = {
    "negative_prompt", "height", "width", "num_inference_steps", "guidance_scale", "scheduler", "seed",
    "target_size",
}  # fmt: skip


class HuggingFace(Vendor):
    """Refuses with a black picture, charged: there is no protocol for anything else."""

    name = "huggingface"

    @property
    def endpoint(self) -> str:
        """The address of an endpoint with one model, to be given to the client as `model`."""
        return f"{self.url}/endpoint"

    def address(self, model: str) -> str:
        """The address of a model behind the router."""
        return f"{self.url}/hf-inference/models/{model}"

    def routes(self) -> Sequence[Route]:
        return [
            self.route("/endpoint", self.generate),
            self.route("/hf-inference/models/{model:path}", self.generate),
        ]

    def error(self, status: int, message: str, **more: Any) -> Response:
        headers = {"x-request-id": f"Root=1-{self.new_id()}"}
        return JSONResponse({"error": message, **more}, status, headers=headers)

    def unauthorized(self, seen: Seen) -> Response | None:
        return None if seen.headers.get("authorization") == f"Bearer {self.key}" else self.wrong_key(401)

    def wrong_key(self, status: int) -> Response:
        return self.error(status or 401, "Invalid username or password.")

    def out_of_credits(self) -> Response:
        return self.error(402, "You have exceeded your monthly included credits for Inference Providers.")

    def invalid(self, message: str) -> Response:
        return self.error(422, message)

    def gone(self, model: str) -> Response:
        return self.error(404, f"Model {model} does not exist")

    async def generate(self, seen: Seen, fault: Fault | None) -> Response:
        model = seen.params.get("model", "endpoint")
        self.check_model(model)
        if not isinstance(seen.body, dict) or not seen.body.get("inputs"):
            raise Answer(self.error(400, "Missing field: inputs"))
        asked = seen.body.get("parameters") or {}
        for name in sorted(set(asked) - PARAMETERS):
            raise Answer(self.error(400, f"unexpected keyword argument {name!r}"))
        prompt, seed = seen.body["inputs"], asked.get("seed")
        size = asked.get("width") or 1024, asked.get("height") or 1024
        await self.work()
        if isinstance(fault, Refused):
            if refusal_is_charged(fault, usually=True):
                self.charge(prompt, model=model, seed=seed)
            return Response(pictures.black(*size), media_type="image/png")
        media_type = seen.headers.get("accept", "image/png")
        media_type = media_type if media_type in pictures.FORMATS else "image/jpeg"
        made = self.make(prompt, model=model, seed=seed, size=size, media_type=media_type, fault=fault)[0]
        return Response(made.data, media_type=media_type, headers={"x-request-id": made.id})
