"""Gemini, as the Gemini API and as Vertex AI serve it, and Imagen's predict.

Paths: `/v1` and `/v1beta` `/models/{m}:generateContent` and `:streamGenerateContent?alt=sse` with `x-goog-api-key`;
`/v1` and `/v1beta1` `/projects/{p}/locations/{l}/publishers/google/models/{m}:...` with a Bearer token, and
`/publishers/google/models/{m}:...` with `x-goog-api-key`, also `:predict`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins import pictures
from tests.standins.answering import Answer, Events, Seen
from tests.standins.faults import Fault, RateLimited, Refused
from tests.standins.vendor import Vendor, refusal_is_charged

STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip

# ai.google.dev/gemini-api/docs/image-generation: pixels at 1K. 512 halves them, 2K and 4K double them once and twice.
SIZES = {
    "1:1": (1024, 1024), "2:3": (848, 1264), "3:2": (1264, 848), "3:4": (896, 1200), "4:3": (1200, 896),
    "4:5": (928, 1152), "5:4": (1152, 928), "9:16": (768, 1376), "16:9": (1376, 768), "21:9": (1584, 672),
    "1:4": (512, 2048), "4:1": (2048, 512), "1:8": (384, 3072), "8:1": (3072, 384),
}  # fmt: skip
SIZES_2_5 = {
    "1:1": (1024, 1024), "2:3": (832, 1248), "3:2": (1248, 832), "3:4": (864, 1184), "4:3": (1184, 864),
    "4:5": (896, 1152), "5:4": (1152, 896), "9:16": (768, 1344), "16:9": (1344, 768), "21:9": (1536, 672),
}  # fmt: skip
SCALES = {"512": 0.5, "1K": 1, "2K": 2, "4K": 4}
IMAGEN_SIZES = {
    "1:1": (1024, 1024), "3:4": (896, 1280), "4:3": (1280, 896), "9:16": (768, 1408), "16:9": (1408, 768),
}  # fmt: skip
TOKENS = {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520}
TOKENS_PRO = {"1K": 1120, "2K": 1120, "4K": 2000}

# What the Gemini API takes; the wire is strict JSON for a protocol buffer, so anything else is an error.
CONFIG = {
    "candidateCount", "seed", "responseModalities", "imageConfig", "temperature", "topP", "topK", "maxOutputTokens",
    "stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema", "thinkingConfig", "mediaResolution",
    "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs",
}  # fmt: skip
IMAGE_CONFIG = {"aspectRatio", "imageSize"}
IMAGE_CONFIG_VERTEX = IMAGE_CONFIG | {"personGeneration", "prominentPeople", "imageOutputOptions"}
PARAMETERS = {
    "sampleCount", "aspectRatio", "negativePrompt", "guidanceScale", "seed", "safetySetting", "personGeneration",
    "includeRaiReason", "includeSafetyAttributes", "language", "outputOptions", "addWatermark", "sampleImageSize",
    "enhancePrompt", "storageUri", "labels",
}  # fmt: skip


class Google(Vendor):
    """Refuses in these ways.

    `SAFETY` (usual for text), `PROHIBITED_CONTENT`, `OTHER`, `BLOCKLIST`: the prompt is blocked, and not charged; with
    any other reason it is `blocked:IMAGE_SAFETY` and so on. `IMAGE_SAFETY` (usual), `IMAGE_PROHIBITED_CONTENT`,
    `IMAGE_OTHER`, `NO_IMAGE`, `IMAGE_RECITATION`: the answer ends so, and is charged. `TEXT`: text in place of a
    picture. For Imagen any way is a `raiFilteredReason`, and `EMPTY` no prediction at all.
    """

    name = "google"
    BLOCKS = ("SAFETY", "PROHIBITED_CONTENT", "OTHER", "BLOCKLIST")

    def routes(self) -> Sequence[Route]:
        return [
            self.route(f"/{prefix}/models/{{call:path}}", self.call)
            for prefix in (
                "v1", "v1beta", "{version}/publishers/google",
                "{version}/projects/{project}/locations/{location}/publishers/google",
            )
        ]  # fmt: skip

    def error(self, status: int, message: str, **more: Any) -> Response:
        body = {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN"), **more}
        return JSONResponse({"error": body}, status)

    def unauthorized(self, seen: Seen) -> Response | None:
        if "project" in seen.params:
            if seen.headers.get("authorization") == f"Bearer {self.key}":
                return None
            return self.error(401, "Request had invalid authentication credentials.")
        given = seen.headers.get("x-goog-api-key") or seen.query.get("key")
        if given == self.key:
            return None
        return self.wrong_key(0) if given else self.error(403, "Method doesn't allow unregistered callers.")

    def wrong_key(self, status: int) -> Response:
        """A key that is not valid is status 400 here, not 401; only its details tell it from a wrong argument."""
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                  "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}}  # fmt: skip
        if status:
            return self.error(status, "The caller does not have permission.")
        return self.error(400, "API key not valid. Please pass a valid API key.", details=[reason])

    def rate_limited(self, fault: RateLimited) -> Response:
        details: list[dict[str, Any]] = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []}]
        if fault.retry_after is not None:
            delay = f"{fault.retry_after:g}s"
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
        return self.error(429, "You exceeded your current quota.", details=details)

    def out_of_credits(self) -> Response:
        return self.error(429, "Your prepayment credits are depleted. Please manage your billing.")

    def invalid(self, message: str) -> Response:
        return self.error(400, message)

    def gone(self, model: str) -> Response:
        return self.error(404, f"models/{model} is not found for API version v1, or is not supported for this method.")

    def stream_error(self) -> bytes:
        return b"data: " + bytes(self.error(503, "The model is overloaded.").body) + b"\r\n\r\n"

    async def call(self, seen: Seen, fault: Fault | None) -> Response:
        model, _, method = seen.params["call"].partition(":")
        self.check_model(model)
        if not isinstance(seen.body, dict):
            raise Answer(self.invalid("Invalid JSON payload received."))
        body = _camel(seen.body)
        if method == "predict":
            return await self.predict(body, fault, model)
        if method not in ("generateContent", "streamGenerateContent"):
            return self.error(404, f"There is no method {method!r}.")
        chunks = [*self.chunks(body, fault, model, vertex="publishers" in seen.path)]
        await self.work()
        if method == "generateContent":
            return JSONResponse(_whole(chunks))
        if seen.query.get("alt") != "sse":
            return JSONResponse(chunks)
        return Events(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)

    def chunks(
        self, body: dict[str, Any], fault: Fault | None, model: str, *, vertex: bool
    ) -> Iterator[dict[str, Any]]:
        """The answer as the stream brings it: text, then the picture, then why it ended and what it took."""
        prompt, images = _prompt(body)
        config = body.get("generationConfig") or {}
        wanted = self.check(model, config, vertex=vertex)
        usage: dict[str, Any] = {
            "promptTokenCount": len(prompt) // 4 + 1 + 560 * images,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": len(prompt) // 4 + 1}]
            + ([{"modality": "IMAGE", "tokenCount": 560 * images}] if images else []),
            "totalTokenCount": len(prompt) // 4 + 1 + 560 * images,
        }
        common = {"modelVersion": model, "responseId": self.new_id()[:16]}

        def chunk(parts: list[dict[str, Any]], index: int = 0, **more: Any) -> dict[str, Any]:
            candidate = {"content": {"role": "model", "parts": parts}, "index": index, **more}
            return {"candidates": [candidate], "usageMetadata": {**usage}, **common}

        usual = "IMAGE_SAFETY" if "IMAGE" in wanted else "SAFETY"
        refused = fault.how or usual if isinstance(fault, Refused) else ""
        block = refused.removeprefix("blocked:")
        if refused in self.BLOCKS or refused.startswith("blocked:"):
            if isinstance(fault, Refused) and refusal_is_charged(fault, usually=False):
                self.charge(prompt, model=model, seed=config.get("seed"))
            yield {"promptFeedback": {"blockReason": block}, "usageMetadata": usage, **common}
            return
        if "IMAGE" not in wanted or refused == "TEXT":
            text = self.text(prompt, model=model, images=images)
            _count(usage, "TEXT", len(text) // 4 + 1)
            half = len(text) // 2
            yield chunk([{"text": text[:half]}])
            yield chunk([{"text": text[half:]}], finishReason="STOP")
            return
        if refused:
            assert isinstance(fault, Refused)
            if refusal_is_charged(fault, usually=True):
                self.charge(prompt, model=model, seed=config.get("seed"))
            message = f"Unable to show the generated image. {refused}"
            yield {"candidates": [{"finishReason": refused, "finishMessage": message, "index": 0}],
                   "usageMetadata": usage, **common}  # fmt: skip
            return
        size, tokens, media_type = self.size(model, config.get("imageConfig") or {})
        made = self.make(
            prompt, model=model, seed=config.get("seed"), size=size, media_type=media_type, fault=fault,
            count=config.get("candidateCount", 1),
        )  # fmt: skip
        thoughts = (config.get("thinkingConfig") or {}).get("includeThoughts", False)
        for index, picture in enumerate(made):
            if thoughts:  # an interim picture, which is not the answer
                interim = pictures.draw(prompt, model=model, seed=0, width=256, height=256, progress=0.3)
                sketch = {**_inline(interim), "thought": True}
                yield chunk([{"text": "First a sketch.", "thought": True}, sketch], index)
            if "TEXT" in wanted:
                yield chunk([{"text": "Here is the picture. "}], index)
            signature = base64.b64encode(picture.id.encode()).decode()
            yield chunk([{**_inline(picture.data, picture.media_type), "thoughtSignature": signature}], index)
        _count(usage, "IMAGE", tokens * len(made))
        usage["thoughtsTokenCount"] = 120 if thoughts else 0
        usage["totalTokenCount"] += usage["thoughtsTokenCount"]
        for index in range(len(made)):
            yield chunk([], index, finishReason="STOP")

    def check(self, model: str, config: dict[str, Any], *, vertex: bool) -> list[str]:
        """The modalities that are asked for; raises the vendor's 400 for what it would not take."""
        image = config.get("imageConfig") or {}
        for what, given, known in (
            ("generation_config", config, CONFIG),
            ("generation_config.image_config", image, IMAGE_CONFIG_VERTEX if vertex else IMAGE_CONFIG),
        ):
            for name in sorted(set(given) - known):
                message = f"Invalid JSON payload received. Unknown name {name!r} at '{what}': Cannot find field."
                raise Answer(self.invalid(message))
        if image.get("aspectRatio", "1:1") not in SIZES:
            raise Answer(self.invalid(f"Aspect ratio {image['aspectRatio']} is not supported."))
        if image.get("imageSize", "1K") not in SCALES:
            raise Answer(self.invalid(f"Image size {image['imageSize']} is not supported."))
        if not -(2**31) <= config.get("seed", 0) < 2**31:
            raise Answer(self.invalid(f"Invalid value at 'generation_config.seed' (TYPE_INT32), {config['seed']}"))
        usual = ["TEXT", "IMAGE"] if "image" in model or "banana" in model else ["TEXT"]
        return [str(modality).upper() for modality in config.get("responseModalities") or usual]

    def size(self, model: str, image: dict[str, Any]) -> tuple[tuple[int, int], int, str]:
        """Width and height, tokens, and media type of a picture."""
        ratio, name = image.get("aspectRatio", "1:1"), image.get("imageSize", "1K")
        media_type = (image.get("imageOutputOptions") or {}).get("mimeType", "image/png")
        if "2.5" in model:
            if ratio not in SIZES_2_5 or name != "1K":
                raise Answer(self.invalid(f"{model} has no {ratio} at {name}."))
            return SIZES_2_5[ratio], 1290, media_type
        tokens = TOKENS_PRO if "pro" in model else TOKENS
        if name not in tokens:
            raise Answer(self.invalid(f"{model} has no size {name}."))
        width, height = SIZES[ratio]
        return (int(width * SCALES[name]), int(height * SCALES[name])), tokens[name], media_type

    async def predict(self, body: dict[str, Any], fault: Fault | None, model: str) -> Response:
        parameters = body.get("parameters") or {}
        prompt = body["instances"][0]["prompt"]
        for name in sorted(set(parameters) - PARAMETERS):
            raise Answer(self.invalid(f"Unsupported parameter: {name}."))
        if not 0 <= parameters.get("seed", 0) < 2**32:
            raise Answer(self.invalid("Seed must be between 0 and 4294967295."))
        if "seed" in parameters and parameters.get("addWatermark", True):
            raise Answer(self.invalid("Seed is not supported when watermark is enabled."))
        count = parameters.get("sampleCount", 1)
        if not 1 <= count <= 4 or parameters.get("aspectRatio", "1:1") not in IMAGEN_SIZES:
            raise Answer(self.invalid("sampleCount must be between 1 and 4, and aspectRatio one of those listed."))
        predictions: list[dict[str, Any]] = []
        if isinstance(fault, Refused):
            if refusal_is_charged(fault, usually=False):
                self.charge(prompt, model=model, seed=parameters.get("seed"))
            reason = fault.how or "Unable to show generated images. Support codes: 58061214"
            predictions = [] if fault.how == "EMPTY" else [{"raiFilteredReason": reason}]
        else:
            width, height = IMAGEN_SIZES[parameters.get("aspectRatio", "1:1")]
            scale = SCALES[parameters.get("sampleImageSize", "1K")]
            media_type = (parameters.get("outputOptions") or {}).get("mimeType", "image/png")
            made = self.make(
                prompt, model=model, seed=parameters.get("seed"), size=(int(width * scale), int(height * scale)),
                media_type=media_type, count=count, fault=fault,
            )  # fmt: skip
            for picture in made:
                encoded = base64.b64encode(picture.data).decode()
                predictions.append({"bytesBase64Encoded": encoded, "mimeType": media_type, "prompt": prompt})
        await self.work()
        return JSONResponse({"predictions": predictions} if predictions else {})


def _camel(value: Any) -> Any:
    """Names as JSON has them: a protocol buffer takes `mime_type` for `mimeType`, and google-genai sends both kinds."""
    if isinstance(value, list):
        return [_camel(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): inner for name, inner in value.items()}
    return {name: inner if "Schema" in name else _camel(inner) for name, inner in named.items()}


def _prompt(body: dict[str, Any]) -> tuple[str, int]:
    """The text of all turns of the user and the system's, and how many pictures come with it."""
    turns = [body.get("systemInstruction") or {}, *(body.get("contents") or [])]
    parts = [part for turn in turns if turn.get("role") != "model" for part in turn.get("parts") or []]
    images = sum("inlineData" in part or "fileData" in part for turn in turns for part in turn.get("parts") or [])
    return "\n".join(part["text"] for part in parts if "text" in part), images


def _inline(data: bytes, media_type: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}


def _count(usage: dict[str, Any], modality: str, tokens: int) -> None:
    usage["candidatesTokenCount"] = tokens
    usage["candidatesTokensDetails"] = [{"modality": modality, "tokenCount": tokens}]
    usage["totalTokenCount"] = usage["promptTokenCount"] + tokens


def _whole(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What the chunks add up to, when it is not streamed."""
    whole = {**chunks[-1]}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for candidate in chunk.get("candidates", []):
            known = candidates.setdefault(candidate["index"], {})
            parts = known.get("content", {}).get("parts", []) + candidate.get("content", {}).get("parts", [])
            known.update(candidate)
            if parts:
                known["content"] = {"role": "model", "parts": parts}
    if candidates:
        whole["candidates"] = list(candidates.values())
    return whole
