"""OpenAI's images, and text from chat completions and responses."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins import pictures
from tests.standins.answering import Answer, Events, Part, Seen
from tests.standins.faults import Fault, RateLimited, Refused
from tests.standins.vendor import Vendor, refusal_is_charged

MODELS = ("gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2", "gpt-5.5-mini")
ASKED = {
    "model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation",
    "stream", "partial_images", "user", "safety_identifier",
}  # fmt: skip
ASKED_EDIT = (ASKED | {"input_fidelity"}) - {"moderation"}
FILES = {"image", "image[]", "mask"}
NUMBERS = {"n", "output_compression", "partial_images"}
MOST_IMAGES = 16
# platform.openai.com/docs/guides/image-generation: tokens of a square picture; others by their area.
TOKENS = {"low": 272, "medium": 1056, "high": 4160, "auto": 1056}
PARTIAL_TOKENS = 100


class OpenAI(Vendor):
    """Refuses by status 400 with code `moderation_blocked` (usual) or any other, such as `content_policy_violation`.

    Text is refused in words (usual), or by `content_filter`.
    """

    name = "openai"

    def routes(self) -> Sequence[Route]:
        return [
            self.route("/v1/images/generations", self.images),
            self.route("/v1/images/edits", self.images),
            self.route("/v1/chat/completions", self.chat),
            self.route("/v1/responses", self.responses),
            self.route("/v1/models", self.models, step="other", method="GET"),
        ]

    def error(self, status: int, message: str, **more: Any) -> Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = {"message": message, "type": kind, "param": None, "code": None, **more}
        return JSONResponse({"error": body}, status, headers={"x-request-id": f"req_{self.new_id()}"})

    def unauthorized(self, seen: Seen) -> Response | None:
        return None if seen.headers.get("authorization") == f"Bearer {self.key}" else self.wrong_key(401)

    def wrong_key(self, status: int) -> Response:
        return self.error(status or 401, "Incorrect API key provided: test****.", code="invalid_api_key")

    def rate_limited(self, fault: RateLimited) -> Response:
        return self.error(429, "Rate limit reached for images per minute.", type="requests", code="rate_limit_exceeded")

    def out_of_credits(self) -> Response:
        message = "You exceeded your current quota, please check your plan and billing details."
        return self.error(429, message, type="insufficient_quota", code="insufficient_quota")

    def invalid(self, message: str, param: str | None = None, code: str = "invalid_value") -> Response:
        return self.error(400, message, param=param, code=code)

    def gone(self, model: str) -> Response:
        return self.error(404, f"The model `{model}` does not exist or you do not have access to it.",
                          param="model", code="model_not_found")  # fmt: skip

    def stream_error(self) -> bytes:
        error = {"type": "server_error", "code": "server_error", "message": "The server had an error.", "param": None}
        return _event("error", {"type": "error", "error": error})

    async def images(self, seen: Seen, fault: Fault | None) -> Response:
        editing = seen.path.endswith("/edits")
        asked, files = _read(seen.body)
        self.check(asked, files, editing=editing)
        model, prompt = asked.get("model", "gpt-image-2"), asked["prompt"]
        self.check_model(model)
        if isinstance(fault, Refused):
            if refusal_is_charged(fault, usually=False):
                self.charge(prompt, model=model)
            message = "Your request was rejected by the safety system. safety_violations=[violence]."
            return self.error(400, message, type="image_generation_user_error", code=fault.how or "moderation_blocked")
        size = asked.get("size", "auto")
        width, height = (1024, 1024) if size == "auto" else (int(side) for side in size.split("x"))
        kind, quality = asked.get("output_format", "png"), asked.get("quality", "auto")
        made = self.make(
            prompt, model=model, seed=None, size=(width, height), media_type=f"image/{kind}",
            count=asked.get("n", 1), fault=fault,
        )  # fmt: skip
        await self.work()
        partial = asked.get("partial_images", 0) if asked.get("stream") else 0
        image_tokens = 323 * sum(part.name != "mask" for part in files)
        text_tokens = len(prompt) // 4 + 1
        each = int(TOKENS.get(quality, 4160) * width * height / 1024**2) + PARTIAL_TOKENS * partial
        usage = {
            "input_tokens": text_tokens + image_tokens, "output_tokens": each * len(made),
            "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": image_tokens},
            "total_tokens": text_tokens + image_tokens + each * len(made),
        }  # fmt: skip
        common = {
            "size": f"{width}x{height}", "quality": "medium" if quality == "auto" else quality,
            "output_format": kind,
            "background": "transparent" if asked.get("background") == "transparent" else "opaque",
        }  # fmt: skip
        if not asked.get("stream"):
            data = [{"b64_json": _base64(picture.data)} for picture in made]
            body = {"created": int(time.time()), "data": data, "usage": usage, **common}
            return JSONResponse(body, headers={"x-request-id": f"req_{made[0].id}"})
        what = "image_edit" if editing else "image_generation"
        common["created_at"] = int(time.time())
        events = []
        for index in range(partial):
            preview = pictures.draw(
                prompt, model=model, seed=made[0].seed, width=width, height=height, media_type=f"image/{kind}",
                progress=(index + 1) / (partial + 1),
            )  # fmt: skip
            body = {"b64_json": _base64(preview), "partial_image_index": index, **common}
            events.append(_event(f"{what}.partial_image", body))
        for picture in made:
            body = {"b64_json": _base64(picture.data), "usage": usage, **common}
            events.append(_event(f"{what}.completed", body))
        return Events(events)

    def check(self, asked: dict[str, Any], files: list[Part], *, editing: bool) -> None:
        """Raise the vendor's 400 for what it would not take."""
        for name in sorted(set(asked) - (ASKED_EDIT if editing else ASKED)):
            raise Answer(self.invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter"))
        for name in sorted({part.name for part in files} - FILES):
            raise Answer(self.invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter"))
        if not asked.get("prompt"):
            raise Answer(self.invalid("Missing required parameter: 'prompt'.", "prompt", "missing_required_parameter"))
        size = asked.get("size", "auto")
        if size != "auto" and not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,3}", size):
            raise Answer(self.invalid(f"Invalid value: '{size}'.", "size"))
        if not 1 <= asked.get("n", 1) <= 10 or not 0 <= asked.get("partial_images", 0) <= 3:
            raise Answer(self.invalid("n is from 1 to 10, and partial_images from 0 to 3."))
        kind = asked.get("output_format", "png")
        if kind not in ("png", "jpeg", "webp") or (kind == "jpeg" and asked.get("background") == "transparent"):
            raise Answer(self.invalid(f"Invalid value: '{kind}'.", "output_format"))
        if "output_compression" in asked and kind == "png":
            raise Answer(self.invalid("Compression less than 100 is not supported for PNG.", "output_compression"))
        count = sum(part.name != "mask" for part in files)
        if editing and not 1 <= count <= MOST_IMAGES:
            raise Answer(self.invalid(f"image: {count} given; from 1 to {MOST_IMAGES} are possible.", "image"))

    async def chat(self, seen: Seen, fault: Fault | None) -> Response:
        self.check_model(seen.body["model"])
        prompt, images = _messages(seen.body["messages"])
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        filtered = isinstance(fault, Refused) and fault.how == "content_filter"
        if not isinstance(fault, Refused):
            message["content"] = self.text(prompt, model=seen.body["model"], images=images)
        elif not filtered:
            message["refusal"] = "I can't help with that."
        await self.work()
        finish = "content_filter" if filtered else "stop"
        return JSONResponse(
            {
                "id": f"chatcmpl-{self.new_id()}", "object": "chat.completion", "created": int(time.time()),
                "model": seen.body["model"], "usage": _usage(prompt, message["content"] or "", "prompt", "completion"),
                "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            },
            headers={"x-request-id": f"req_{self.new_id()}"},
        )  # fmt: skip

    async def responses(self, seen: Seen, fault: Fault | None) -> Response:
        given, model = seen.body["input"], seen.body["model"]
        self.check_model(model)
        prompt, images = (given, 0) if isinstance(given, str) else _messages(given)
        if isinstance(fault, Refused):
            content: dict[str, Any] = {"type": "refusal", "refusal": "I can't help with that."}
        else:
            content = {"type": "output_text", "text": self.text(prompt, model=model, images=images), "annotations": []}
        await self.work()
        message = {"id": f"msg_{self.new_id()}", "type": "message", "role": "assistant", "status": "completed",
                   "content": [content]}  # fmt: skip
        return JSONResponse(
            {
                "id": f"resp_{self.new_id()}", "object": "response", "created_at": int(time.time()), "model": model,
                "status": "completed", "output": [message], "parallel_tool_calls": True, "tool_choice": "auto",
                "tools": [], "usage": _usage(prompt, content.get("text", ""), "input", "output"),
            }
        )  # fmt: skip

    def models(self, seen: Seen, fault: Fault | None) -> Response:
        listed = [
            {"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "openai"}
            for model in MODELS
            if model not in self.retired
        ]
        return JSONResponse({"object": "list", "data": listed})


def _read(body: Any) -> tuple[dict[str, Any], list[Part]]:
    """The settings, whether they came as JSON or as form fields, and the files."""
    if not isinstance(body, list):
        return {k: v for k, v in (body or {}).items() if v is not None}, []
    asked: dict[str, Any] = {}
    for part in body:
        if part.filename is None:
            asked[part.name] = int(part.text) if part.name in NUMBERS else part.text
    if "stream" in asked:
        asked["stream"] = asked["stream"] == "true"
    return asked, [part for part in body if part.filename is not None]


def _messages(messages: list[dict[str, Any]]) -> tuple[str, int]:
    parts: list[dict[str, Any]] = []
    for message in messages:
        content = message["content"]
        parts += [{"text": content}] if isinstance(content, str) else content
    images = sum(part.get("type") in ("image_url", "input_image") for part in parts)
    return "\n".join(part["text"] for part in parts if "text" in part), images


def _usage(prompt: str, answer: str, before: str, after: str) -> dict[str, Any]:
    given, made = len(prompt) // 4 + 1, len(answer) // 4 + 1
    return {
        f"{before}_tokens": given, f"{after}_tokens": made, "total_tokens": given + made,
        f"{before}_tokens_details": {"cached_tokens": 0}, f"{after}_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


def _event(name: str, body: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **body})}\n\n".encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
