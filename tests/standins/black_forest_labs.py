"""Black Forest Labs: a task is submitted, polled at the address that comes back, and its picture fetched from a third.

Written from the vendor's documentation (docs.bfl.ai); there is no client of theirs to hold it against.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins import pictures
from tests.standins.answering import Answer, Seen, validation
from tests.standins.faults import Elsewhere, Failed, Fault, Pending, Refused
from tests.standins.vendor import Job, Vendor, refusal_is_charged

# Credits (1 = $0.01) for the first megapixel of output, and for every further one and every one of input.
PRICES = {
    "flux-2-klein-4b": (1.4, 0.1), "flux-2-klein-9b": (1.5, 0.2), "flux-2-pro": (3, 1.5), "flux-2-flex": (5, 5),
    "flux-2-max": (7, 3), "flux-pro-1.1": (4, 0), "flux-pro-1.1-ultra": (6, 0), "flux-dev": (2.5, 0),
}  # fmt: skip
ASKED = {
    "prompt", "width", "height", "aspect_ratio", "seed", "steps", "guidance", "prompt_upsampling", "safety_tolerance",
    "output_format", "webhook_url", "webhook_secret", "raw", "image_prompt", "image_prompt_strength",
}  # fmt: skip
TASKS_AT_ONCE = 24
RATIOS = {"1:1": (1024, 1024), "16:9": (1360, 768), "9:16": (768, 1360), "4:3": (1184, 880), "3:4": (880, 1184),
          "3:2": (1248, 832), "2:3": (832, 1248), "21:9": (1568, 672), "9:21": (672, 1568)}  # fmt: skip


class BlackForestLabs(Vendor):
    """Refuses by the status `Content Moderated` (usual, charged) or `Request Moderated` (not charged).

    A second address for polling or delivery: serve `app` once more, and set `polling_url` or `delivery_url` to it.
    """

    name = "black-forest-labs"

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.polling_url: str | None = None
        self.delivery_url: str | None = None

    def routes(self) -> Sequence[Route]:
        return [
            self.route("/v1/get_result", self.poll, step="poll", method="GET"),
            self.route("/delivery/{id}/sample.{extension}", self.picture, step="picture", method="GET", key=False),
            self.route("/v1/{model}", self.submit),
        ]

    def error(self, status: int, message: str, **more: Any) -> Response:
        return JSONResponse({"detail": message, **more}, status)

    def unauthorized(self, seen: Seen) -> Response | None:
        return None if seen.headers.get("x-key") == self.key else self.wrong_key(0)

    def wrong_key(self, status: int) -> Response:
        return self.error(status or 403, "Not authenticated - Invalid Authentication")

    def invalid(self, message: str, where: str = "steps") -> Response:
        return JSONResponse({"detail": validation(message, where)}, 422)

    def gone(self, model: str) -> Response:
        return self.error(404, "Not Found")

    def submit(self, seen: Seen, fault: Fault | None) -> Response:
        model, asked = seen.params["model"], seen.body
        self.check_model(model)
        if model not in PRICES:
            return self.gone(model)
        images = self.check(asked)
        if sum(job.running for job in self.jobs.values()) >= TASKS_AT_ONCE:
            return self.error(429, f"You have reached the limit of {TASKS_AT_ONCE} active tasks.")
        prompt, seed = asked["prompt"], asked.get("seed")
        width, height = _size(model, asked)
        media_type = f"image/{asked.get('output_format') or 'jpeg'}"
        how = (fault.how or "Content Moderated") if isinstance(fault, Refused) else ""
        charged = not isinstance(fault, Refused) or refusal_is_charged(fault, usually=how == "Content Moderated")
        made = []
        if how and charged:
            self.charge(prompt, model=model, seed=seed)
        elif not how:
            made = self.make(
                prompt, model=model, seed=seed, size=(width, height), media_type=media_type, fault=fault
            )  # fmt: skip
        job = self.start(asked, made, model=model, fault=fault)
        base = (fault.poll if isinstance(fault, Elsewhere) else None) or self.polling_url or self.url
        output, first_and_more = width * height / 1e6, PRICES[model]
        cost = first_and_more[0] + first_and_more[1] * (max(0.0, output - 1) + images)
        return JSONResponse(
            {
                "id": _task(job.id), "polling_url": f"{base}/v1/get_result?id={_task(job.id)}",
                "cost": round(cost, 3), "input_mp": float(images), "output_mp": round(output, 2),
            }
        )  # fmt: skip

    def check(self, asked: Any) -> int:
        """How many pictures of input there are; raises the vendor's 422 for what it would not take."""
        if not isinstance(asked, dict) or not asked.get("prompt"):
            raise Answer(self.invalid("Field required", "prompt"))
        pictures_given = [name for name in asked if name.startswith("input_image")]
        for name in sorted(set(asked) - ASKED - set(pictures_given)):
            raise Answer(self.invalid("Extra inputs are not permitted", name))
        for name in ("width", "height"):
            side = asked.get(name)
            if side is not None and (side < 64 or side > 4096):
                raise Answer(self.invalid("Input should be greater than or equal to 64", name))
        return len(pictures_given)

    def poll(self, seen: Seen, fault: Fault | None) -> Response:
        identity = seen.query.get("id", "")
        job = self.job(identity.replace("-", ""))
        answer: dict[str, Any] = {"id": identity, "status": "Task not found", "result": None, "progress": None,
                                  "details": None, "preview": None}  # fmt: skip
        if job is None:
            return JSONResponse(answer, 404)
        job.polled += 1
        if not job.ready:
            answer |= {"status": "Pending", "progress": job.progress}
            if isinstance(job.fault, Pending) and job.fault.previews:
                preview = pictures.draw(job.asked["prompt"], width=128, height=128, progress=job.progress)
                answer["preview"] = {"image": base64.b64encode(preview).decode(), "mime_type": "image/png"}
        elif isinstance(job.fault, Refused):
            answer |= {"status": job.fault.how or "Content Moderated",
                       "details": {"Moderation Reasons": ["Derivative Works Filter"]}}  # fmt: skip
        elif isinstance(job.fault, Failed):
            answer |= {"status": "Error", "details": {"error": job.fault.message}}
        else:
            answer |= {"status": "Ready", "result": self.result(job)}
        return JSONResponse(answer)

    def result(self, job: Job) -> dict[str, Any]:
        base = (job.fault.picture if isinstance(job.fault, Elsewhere) else None) or self.delivery_url or self.url
        now, made = time.time(), job.made[0]
        return {
            "sample": f"{base}/delivery/{job.id}/sample.{made.extension}?se=10m&sig=signed", "seed": made.seed,
            "start_time": now - self.seconds, "end_time": now, "duration": self.seconds, "prompt": job.asked["prompt"],
        }  # fmt: skip


def _task(identity: str) -> str:
    return str(uuid.UUID(identity))


def _size(model: str, asked: dict[str, Any]) -> tuple[int, int]:
    if asked.get("aspect_ratio"):
        width, height = RATIOS[asked["aspect_ratio"]]
        return (2 * width, 2 * height) if model.endswith("ultra") else (width, height)
    usual = (2752, 1536) if model.endswith("ultra") else (1024, 768) if model == "flux-pro-1.1" else (1024, 1024)
    return asked.get("width") or usual[0], asked.get("height") or usual[1]
