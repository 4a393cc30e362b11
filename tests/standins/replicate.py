"""Replicate: predictions of a model or of a version, waited for or polled, and their files."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins.answering import Answer, Part, Seen, sleep
from tests.standins.faults import Elsewhere, Failed, Fault, RateLimited, Refused
from tests.standins.vendor import Job, Vendor, refusal_is_charged

TITLES = {401: "Unauthenticated", 402: "Insufficient credit", 404: "Not found", 422: "Invalid input",
          429: "Too many requests"}  # fmt: skip
RATIOS = {"1:1": (1024, 1024), "16:9": (1344, 768), "9:16": (768, 1344), "4:3": (1152, 896), "3:4": (896, 1152),
          "3:2": (1216, 832), "2:3": (832, 1216), "21:9": (1536, 640)}  # fmt: skip


class Replicate(Vendor):
    """Refuses by a prediction that fails, says NSFW in its `error`, and is charged.

    `files` says how outputs come: `url` (of this server), or `data` (data URIs, which the client can read as files).
    `versions` maps the ids of versions to models.
    """

    name = "replicate"

    def __init__(self, *, files: str = "url", **more: Any) -> None:
        super().__init__(**more)
        self.files = files
        self.uploads: dict[str, Part] = {}
        self.versions: dict[str, str] = {}

    def routes(self) -> Sequence[Route]:
        model = "/v1/models/{owner}/{name}"
        return [
            self.route(f"{model}/predictions", self.create),
            self.route("/v1/predictions", self.create),
            self.route("/v1/predictions/{id}", self.poll, step="poll", method="GET"),
            self.route("/v1/predictions/{id}/cancel", self.cancel, step="cancel"),
            self.route(model, self.model, step="other", method="GET"),
            self.route(f"{model}/versions/{{version}}", self.version, step="other", method="GET"),
            self.route("/v1/files", self.upload, step="other"),
            self.route("/delivery/{id}/out-{index}.{extension}", self.picture, step="picture", method="GET", key=False),
        ]

    def error(self, status: int, message: str, **more: Any) -> Response:
        body = {"title": TITLES.get(status, "Internal server error"), "detail": message, "status": status, **more}
        return JSONResponse(body, status, media_type="application/problem+json")

    def unauthorized(self, seen: Seen) -> Response | None:
        return None if seen.headers.get("authorization") == f"Bearer {self.key}" else self.wrong_key(401)

    def wrong_key(self, status: int) -> Response:
        return self.error(status or 401, "You did not pass a valid authentication token")

    def out_of_credits(self) -> Response:
        return self.error(402, "You have insufficient credit to run this model.")

    def rate_limited(self, fault: RateLimited) -> Response:
        after = 1 if fault.retry_after is None else fault.retry_after
        return self.error(429, "Request was throttled. Your rate limit resets soon.", retry_after=after)

    def invalid(self, message: str) -> Response:
        return self.error(422, f"- input: {message}", invalid_fields=[{"type": "invalid", "description": message}])

    def gone(self, model: str) -> Response:
        return self.error(404, "The requested resource could not be found.")

    async def create(self, seen: Seen, fault: Fault | None) -> Response:
        asked = (seen.body or {}).get("input") or {}
        version = (seen.body or {}).get("version", "hidden")
        model = "/".join(seen.params.values()) or self.versions.get(version, version.partition(":")[0])
        self.check_model(model)
        if not asked.get("prompt"):
            raise Answer(self.invalid("prompt is required"))
        prompt, seed = asked["prompt"], asked.get("seed")
        made = []
        charged = not isinstance(fault, Refused) or refusal_is_charged(fault, usually=True)
        if isinstance(fault, Refused | Failed):
            if charged:
                self.charge(prompt, model=model, seed=seed)
        else:
            kind = {"jpg": "jpeg"}.get(asked.get("output_format", "webp"), asked.get("output_format", "webp"))
            made = self.make(
                prompt, model=model, seed=seed, size=_size(asked), media_type=f"image/{kind}",
                count=asked.get("num_outputs", 1), fault=fault,
            )  # fmt: skip
        job = self.start({**asked, "version": version}, made, model=model, fault=fault)
        if "wait" in seen.headers.get("prefer", ""):
            await self.work()
            while not job.ready and job.polled <= job.rounds:
                await sleep(0.001)
                job.polled += 1
        return JSONResponse(self.prediction(job), 201)

    def poll(self, seen: Seen, fault: Fault | None) -> Response:
        job = self.job(seen.params["id"])
        if job is None:
            return self.gone("")
        job.polled += 1
        return JSONResponse(self.prediction(job))

    def cancel(self, seen: Seen, fault: Fault | None) -> Response:
        job = self.job(seen.params["id"])
        if job is None:
            return self.gone("")
        job.cancelled = job.cancelled or not job.ready
        return JSONResponse(self.prediction(job))

    def prediction(self, job: Job) -> dict[str, Any]:
        """The job as the vendor tells it."""
        version, address = job.asked["version"], f"{self.url}/v1/predictions/{job.id}"
        steps = int(4 * job.progress)
        answer: dict[str, Any] = {
            "id": job.id, "model": job.model, "version": version, "error": None, "output": None, "metrics": {},
            "input": {k: v for k, v in job.asked.items() if k != "version"},
            "logs": f"Using seed: {job.made[0].seed if job.made else 0}\n {25 * steps}%|##   | {steps}/4 [00:01<00:01]",
            "urls": {"get": address, "cancel": f"{address}/cancel"},
            "created_at": datetime.now(UTC).isoformat(), "data_removed": False, "source": "api",
        }  # fmt: skip
        if job.cancelled:
            answer["status"] = "canceled"
        elif not job.ready:
            answer["status"] = "processing" if job.polled else "starting"
        elif isinstance(job.fault, Refused | Failed):
            nsfw = "NSFW content detected. Try running it again, or try a different prompt."
            answer |= {"status": "failed", "error": nsfw if isinstance(job.fault, Refused) else job.fault.message}
        else:
            answer |= {"status": "succeeded", "metrics": {"predict_time": self.seconds, "image_count": len(job.made)},
                       "output": self.output(job), "completed_at": datetime.now(UTC).isoformat()}  # fmt: skip
        return answer

    def output(self, job: Job) -> str | list[str]:
        """One address, or a list: the models differ, and those of an `num_outputs` setting give a list."""
        base = (job.fault.picture if isinstance(job.fault, Elsewhere) else None) or self.url
        files = []
        for index, made in enumerate(job.made):
            if self.files == "data":
                files.append(f"data:{made.media_type};base64,{base64.b64encode(made.data).decode()}")
            else:
                files.append(f"{base}/delivery/{job.id}/out-{index}.{made.extension}")
        return files if "num_outputs" in job.asked or "schnell" in job.model else files[0]

    def model(self, seen: Seen, fault: Fault | None) -> Response:
        name = "/".join(seen.params.values())
        self.check_model(name)
        return JSONResponse(
            {"url": f"https://replicate.com/{name}", "owner": seen.params["owner"], "name": seen.params["name"],
             "description": "", "visibility": "public", "run_count": 1, "latest_version": None}
        )  # fmt: skip

    def version(self, seen: Seen, fault: Fault | None) -> Response:
        schema = {"components": {"schemas": {"Output": {"type": "string", "format": "uri"}}}}
        return JSONResponse(
            {"id": seen.params["version"], "created_at": "2026-01-01T00:00:00Z", "cog_version": "0.13.0",
             "openapi_schema": schema}
        )  # fmt: skip

    def upload(self, seen: Seen, fault: Fault | None) -> Response:
        part = next(part for part in seen.body if part.name == "content")
        identity = self.new_id()
        self.uploads[identity] = part
        return JSONResponse(
            {"id": identity, "name": part.filename, "content_type": part.content_type, "size": len(part.data),
             "etag": identity, "checksums": {}, "metadata": {}, "created_at": datetime.now(UTC).isoformat(),
             "expires_at": datetime.fromtimestamp(time.time() + 86400, UTC).isoformat(),
             "urls": {"get": f"{self.url}/v1/files/{identity}"}},
            201,
        )  # fmt: skip


def _size(asked: dict[str, Any]) -> tuple[int, int]:
    width, height = RATIOS.get(asked.get("aspect_ratio", "1:1"), (1024, 1024))
    return asked.get("width", width), asked.get("height", height)
