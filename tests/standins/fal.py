"""fal's queue: a request is submitted, its status polled, its result fetched, and its files from a third place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins import pictures
from tests.standins.answering import Answer, Seen, validation
from tests.standins.faults import Elsewhere, Failed, Fault, RateLimited, Refused
from tests.standins.vendor import Job, Made, Vendor, refusal_is_charged

SIZES = {
    "square_hd": (1024, 1024), "square": (512, 512), "portrait_4_3": (768, 1024), "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768), "landscape_16_9": (1024, 576),
}  # fmt: skip


class Fal(Vendor):
    """Refuses by `content_policy_violation` (usual): the result is a 422, and not charged; or by

    `has_nsfw_concepts`: a black picture with a flag, charged.
    """

    name = "fal"

    def routes(self) -> Sequence[Route]:
        job = "/{owner}/{alias}/requests/{id}"
        return [
            self.route(f"{job}/status", self.poll, step="poll", method="GET"),
            self.route(f"{job}/cancel", self.cancel, step="cancel", method="PUT"),
            self.route(job, self.result, step="result", method="GET"),
            self.route("/files/{id}/{index}.{extension}", self.picture, step="picture", method="GET", key=False),
            self.route("/{owner}/{alias}", self.submit),
            self.route("/{owner}/{alias}/{path:path}", self.submit),
        ]

    def error(self, status: int, message: str, **more: Any) -> Response:
        kind = more.pop("error_type", "internal_server_error" if status >= 500 else "bad_request")
        headers = {"x-fal-request-id": self.new_id(), "x-fal-error-type": kind}
        return JSONResponse({"detail": message, "error_type": kind, **more}, status, headers=headers)

    def unauthorized(self, seen: Seen) -> Response | None:
        return None if seen.headers.get("authorization") == f"Key {self.key}" else self.wrong_key(401)

    def wrong_key(self, status: int) -> Response:
        message = f"Cannot access application. Authentication is required to access this application. {status or 401}"
        return self.error(status or 401, message, error_type="authentication_error")

    def out_of_credits(self) -> Response:
        return self.error(403, "User is locked. Reason: Exhausted balance.", error_type="user_locked")

    def rate_limited(self, fault: RateLimited) -> Response:
        return self.error(429, "Too many concurrent requests.", error_type="rate_limited")

    def invalid(self, message: str, where: str = "num_inference_steps") -> Response:
        return JSONResponse({"detail": validation(message, where)}, 422, headers={"x-fal-retryable": "false"})

    def gone(self, model: str) -> Response:
        return self.error(404, f"Application '{model}' not found", error_type="not_found")

    def submit(self, seen: Seen, fault: Fault | None) -> Response:
        app = f"{seen.params['owner']}/{seen.params['alias']}"
        model = seen.path.strip("/")
        self.check_model(model)
        asked = seen.body
        if not isinstance(asked, dict) or not asked.get("prompt"):
            raise Answer(self.invalid("Field required", "prompt"))
        prompt, seed, size = asked["prompt"], asked.get("seed"), _size(asked)
        made = []
        charged = not isinstance(fault, Refused) or refusal_is_charged(fault, usually=fault.how == "has_nsfw_concepts")
        if isinstance(fault, Refused | Failed):
            if charged:
                self.charge(prompt, model=model, seed=seed)
        else:
            kind = asked.get("output_format", "jpeg")
            made = self.make(
                prompt, model=model, seed=seed, size=size, media_type=f"image/{kind}",
                count=asked.get("num_images", 1), fault=fault,
            )  # fmt: skip
        job = self.start({**asked, "size": size}, made, model=model, fault=fault)
        base = (fault.poll if isinstance(fault, Elsewhere) else None) or self.url
        address = f"{base}/{app}/requests/{job.id}"
        return JSONResponse(
            {"request_id": job.id, "response_url": address, "status_url": f"{address}/status", "status": "IN_QUEUE",
             "cancel_url": f"{address}/cancel", "queue_position": 0, "logs": None, "metrics": {}},
            headers={"x-fal-request-id": job.id},
        )  # fmt: skip

    def poll(self, seen: Seen, fault: Fault | None) -> Response:
        job = self.job(seen.params["id"])
        if job is None:
            return self.error(404, "Request not found", error_type="not_found")
        job.polled += 1
        logs = [{"message": f"step {job.polled}", "level": "INFO", "timestamp": "2026-11-01T00:00:00Z"}]
        shown = logs if seen.query.get("logs") in ("1", "true") else None
        base = str(seen.path).rsplit("/", 1)[0]
        answer: dict[str, Any] = {"request_id": job.id, "response_url": f"{self.url}{base}", "logs": shown}
        if job.cancelled or job.ready:
            answer |= {"status": "COMPLETED", "metrics": {"inference_time": self.seconds}}
            if isinstance(job.fault, Failed):
                answer |= {"error": job.fault.message, "error_type": "runner_disconnected"}
            return JSONResponse(answer)
        answer |= {"status": "IN_PROGRESS"} if job.polled > 1 else {"status": "IN_QUEUE", "queue_position": 0}
        return JSONResponse(answer, 202)

    def result(self, seen: Seen, fault: Fault | None) -> Response:
        job = self.job(seen.params["id"])
        if job is None or job.cancelled:
            return self.error(404, "Request not found", error_type="not_found")
        if not job.ready:
            return self.error(400, "Request is still in progress", error_type="bad_request")
        if isinstance(job.fault, Failed):
            return self.error(500, job.fault.message, error_type="runner_disconnected")
        if isinstance(job.fault, Refused) and job.fault.how != "has_nsfw_concepts":
            said = "The content could not be processed because it was flagged by a content checker."
            detail = {"loc": ["body", "prompt"], "type": "content_policy_violation", "input": job.asked["prompt"]}
            return JSONResponse({"detail": [{**detail, "msg": said}]}, 422, headers={"x-fal-request-id": job.id})
        return JSONResponse(self.output(job), headers={"x-fal-request-id": job.id})

    def cancel(self, seen: Seen, fault: Fault | None) -> Response:
        job = self.job(seen.params["id"])
        if job is None:
            return self.error(404, "Request not found", error_type="not_found")
        if job.ready:
            return JSONResponse({"status": "ALREADY_COMPLETED"}, 400)
        job.cancelled = True
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)

    def output(self, job: Job) -> dict[str, Any]:
        refused = isinstance(job.fault, Refused)
        base = (job.fault.picture if isinstance(job.fault, Elsewhere) else None) or self.url
        width, height = job.asked["size"]
        if refused and not job.made:
            job.made = [_black(job, width, height)]
        images = [
            {"url": f"{base}/files/{job.id}/{index}.{made.extension}", "width": made.width, "height": made.height,
             "content_type": made.media_type}
            for index, made in enumerate(job.made)
        ]  # fmt: skip
        return {
            "images": images, "timings": {"inference": self.seconds}, "seed": job.made[0].seed,
            "has_nsfw_concepts": [refused] * len(images), "prompt": job.asked["prompt"],
        }  # fmt: skip


def _black(job: Job, width: int, height: int) -> Made:
    return Made(job.id, pictures.black(width, height), "image/png", width, height, job.asked.get("seed") or 0)


def _size(asked: dict[str, Any]) -> tuple[int, int]:
    size = asked.get("image_size", "landscape_4_3")
    return (size["width"], size["height"]) if isinstance(size, dict) else SIZES[size]
