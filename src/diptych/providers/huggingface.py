"""Hugging Face with huggingface_hub: models of the Hub at whichever provider serves them, and endpoints by their URL.

A remote id is owner/name, or the address of an endpoint (`https://...`); of those, Hugging Face's own and this machine
get the key, and no others. The option `provider` says who is to serve a model of the Hub (fal-ai, replicate, together,
...); without it, it is the first one in the user's settings there. Other options go along under the provider's names.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from diptych import settings
from diptych.errors import InvalidRequest, MissingExtra, NotAvailable, ProviderError, Refused
from diptych.images import Picture, Request
from diptych.providers.calling import Stopwatch, failure, finish, network, only, retrying, shortened, words_of
from diptych.providers.connection import bad
from diptych.providers.links import is_here
from diptych.settings import redact

if TYPE_CHECKING:
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError
    from PIL.Image import Image

    from diptych.catalogue import Model
    from diptych.providers import Watch

NAME = "huggingface"
ANSWER_WITHIN = 300.0
"""Seconds without a byte. Endpoints that were idle take minutes to start."""
KEY_HOSTS = (".huggingface.co", ".huggingface.cloud")


class HuggingFace:
    """Text to image, and image to image with a reference. The client is not asynchronous, so it runs in threads."""

    jobs = False

    async def __aenter__(self) -> HuggingFace:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    def check(self, model: Model, requests: Sequence[Request]) -> None:
        """Raises MissingExtra, MissingKey, NotAvailable (an id that is none), InvalidRequest."""
        _client(model)
        for request in requests:
            _parameters(model, request)

    async def generate(self, model: Model, request: Request, watch: Watch | None = None) -> Picture:
        """One picture, in the bytes that the provider sent."""
        client, given = _client(model, request.options.get("provider")), _parameters(model, request)

        async def attempt() -> tuple[bytes, Stopwatch]:
            stopwatch = Stopwatch()
            with network(NAME):
                return await _in_thread(lambda: _call(client, request, given)), stopwatch

        data, stopwatch = await retrying(attempt)
        picture = finish(NAME, model, request, data, stopwatch, client="huggingface-hub")
        if picture.image.convert("RGB").getbbox() is None:
            raise Refused(
                f"{NAME} answered with a picture that is black all over, which is what a safety checker puts in the "
                "place of one",
                provider=NAME,
            )
        return picture


def _client(model: Model, provider: object = None) -> InferenceClient:
    try:
        from huggingface_hub import InferenceClient
    except ImportError as error:
        raise MissingExtra("Models at Hugging Face", "huggingface", "huggingface_hub") from error
    name = model.remote_id or ""
    endpoint = name.startswith(("https://", "http://"))
    if not endpoint and (name.count("/") != 1 or "" in name.split("/")):
        raise NotAvailable(
            f"{model.name} has the id {name!r}; at Hugging Face it is owner/name, or the address of an endpoint."
        )
    keyed = not endpoint or _may_have_key(name)
    find = settings.find_key if endpoint else settings.key
    return InferenceClient(
        model=name,
        provider=str(provider) if provider is not None else None,  # type: ignore[arg-type]  # a name, which it checks
        token=find(NAME) if keyed else None,
        headers=None if keyed else {"authorization": None},  # type: ignore[dict-item]  # else it looks for one itself
        timeout=ANSWER_WITHIN,
    )


def _may_have_key(endpoint: str) -> bool:
    """Whether the key may go to an endpoint: to Hugging Face's own, and to this machine."""
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL:
        return False
    return is_here(url.host) or (url.scheme == "https" and url.host.endswith(KEY_HOSTS))


def _parameters(model: Model, request: Request) -> dict[str, Any]:
    only(model, request, "size", "steps", "guidance", "negative", "seed", "references")
    if len(request.references) > 1:
        raise InvalidRequest(f"{len(request.references)} references are given; Hugging Face's client sends one.")
    options = {name: value for name, value in request.options.items() if name != "provider"}
    given: dict[str, Any] = {
        "negative_prompt": request.negative or None,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance,
    }
    if not request.references:
        return {**given, "width": request.width, "height": request.height, "seed": request.seed, "extra_body": options}
    size = {"width": request.width, "height": request.height} if request.width is not None else None
    seed = {} if request.seed is None else {"seed": request.seed}
    return {**options, **given, **seed, "target_size": size}


async def _in_thread(call: Callable[[], bytes]) -> bytes:
    """`call` in a thread that nothing waits for: a request that hangs must not keep the program from ending.

    asyncio's own threads are few, and waited for at the end.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def settle(data: bytes | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(data or b"")

    def run() -> None:
        data: bytes | None = None
        error: BaseException | None = None
        try:
            data = call()
        except BaseException as caught:  # noqa: BLE001  # raised again where it is awaited
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, data, error)

    threading.Thread(target=run, name=NAME, daemon=True).start()
    return await future


def _call(client: InferenceClient, request: Request, given: dict[str, Any]) -> bytes:
    """Raises ProviderError, and what `network` turns into one."""
    from huggingface_hub.errors import HfHubHTTPError
    from PIL import Image, UnidentifiedImageError

    try:
        if request.references:
            image = client.image_to_image(request.references[0].data, request.prompt, **given)
        else:
            image = client.text_to_image(request.prompt, **given)
    except HfHubHTTPError as error:
        raise _failure(error) from None
    except (UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise bad(NAME, f"is no picture: {shortened(str(error))}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError) as error:
        raise bad(NAME, f"its client cannot read ({type(error).__name__}: {shortened(str(error))})") from error
    except ValueError as error:  # before anything is asked: no such provider, or not for this model
        raise ProviderError(f"{NAME}: {redact(shortened(str(error)))}", provider=NAME) from None
    return _bytes(image)


def _bytes(image: Image) -> bytes:
    """As they were sent. The client opens them as a picture; it decodes nothing until it is asked to."""
    source = getattr(image, "fp", None)
    if not isinstance(source, io.BytesIO):
        raise bad(NAME, "this version of huggingface_hub gives no bytes of")
    return source.getvalue()


def _failure(error: HfHubHTTPError) -> ProviderError:
    response = error.response
    try:
        said = words_of(response.content)
    except RuntimeError:  # the body was not read
        said = error.server_message or str(error)
    return failure(NAME, response.status_code, said, headers=response.headers, request_id=error.request_id)
