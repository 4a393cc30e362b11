"""`diptych pilot`: the same prompts to several models, measured; cost known first, resumable, within budget."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from diptych.cli.generate import pairs
from diptych.errors import InvalidRequest, StudyError

if TYPE_CHECKING:
    from diptych.cli.study_view import StudyProgress
    from diptych.measure import Pool
    from diptych.store.database import Store
    from diptych.studies.forecast import Forecast
    from diptych.studies.plan import Plan
    from diptych.studies.prompts import Prompts
    from diptych.studies.run import OpenProvider, Outcome

DEFAULT_SET = "basics"


def command(
    prompts: Annotated[
        list[str] | None,
        typer.Argument(help="A file (text, CSV, TSV, JSONL) or the prompts themselves.", show_default=False),
    ] = None,
    prompt_set: Annotated[
        str | None, typer.Option("--prompts", help="A set that comes along: portraits, typography, ...")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Once for each model; settings of its own: NAME:steps=4,guidance=2"),
    ] = None,
    samples: Annotated[int, typer.Option("-n", help="Samples of each prompt and model.")] = 4,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels, as in 1024x768.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first samples; the next count up.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting for all models.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Dollars that the study may cost.")] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DOLLARS", help="What a picture costs where that is unknown.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at once to each provider.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the study; alone, it goes on with that study.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Spend without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and its cost, and stop.")] = False,
    retry_unknown: Annotated[
        bool, typer.Option("--retry-unknown", help="Repeat what was sent, never answered and perhaps charged.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Repeat what failed.")] = False,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Measure pictures as they arrive.")] = True,
    on: Annotated[
        str | None, typer.Option(metavar="ray|ray://HOST:PORT", help="Run local models on a Ray cluster.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs of each Ray actor.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another database than the home folder's.")] = None,
) -> None:
    """Put the same prompts to several models: a study.

    Every sample is kept as it comes. The same command goes on where it was stopped, and pays for nothing twice.
    """
    from diptych import store as stores
    from diptych.cli.study_view import print_plan, print_results
    from diptych.studies import create, forecast, plan, results
    from diptych.studies import run as running

    opened = stores.open(store)
    asked: Plan | None = None
    if model or prompts or prompt_set:
        asked = plan.make_plan(
            opened,
            _prompts(prompts or [], prompt_set),
            model or [],
            samples=samples,
            size=size,
            seed=seed,
            values=pairs(settings or [], "--set"),
            budget=budget,
            prices=_prices(price or []),
        )
    elif name is None:
        raise InvalidRequest(
            "A study needs models: name each with -m, as in: diptych pilot -m builtin-flow:steps=8 -m builtin-flow\n"
            "`diptych pilot --name NAME` goes on with a study."
        )
    limits = running.limits(concurrency)
    if asked is not None and dry_run:
        print_plan(asked.prompts, forecast.of_plan(asked, limits), budget, to_stdout=True)
        return
    open_provider = _providers(on, gpus, concurrency or 1)
    if on is not None:
        limits["local"] = concurrency or 1
    if asked is not None:
        _check(asked, open_provider)
        study_id, name, new = create.create(opened, asked, name)
    else:
        study_id, new = results.find(opened, name), False
        if not dry_run:
            create.amend(opened, study_id, budget=budget, prices=_prices(price or []))
        budget = budget if budget is not None else results.budget(opened, study_id)
    coming = forecast.of_study(opened, study_id, limits, retry_unknown=retry_unknown, retry_failed=retry_failed)
    print_plan(asked.prompts if asked and new else None, coming, budget, name=name or "", new=new, to_stdout=dry_run)
    if dry_run:
        return
    if coming.left:
        _confirm(coming, yes)
    outcome = _run(opened, study_id, limits, open_provider, measure, retry_unknown, retry_failed)
    print_results(opened, name or "", outcome)
    if outcome.stopped or outcome.hopeless:
        raise typer.Exit(130 if outcome.stopped else 1)


def study(opened: Store, models: Sequence[str], prompts: list[str], *, samples: int, seed: int) -> str:
    """Plan and run a study that costs nothing, shown as ever; its name."""
    from diptych import providers
    from diptych.cli.study_view import print_plan
    from diptych.studies import create, forecast, plan
    from diptych.studies import run as running

    asked = plan.make_plan(opened, _prompts(prompts, None), models, samples=samples, seed=seed)
    _check(asked, providers.open)
    study_id, name, new = create.create(opened, asked)
    limits = running.limits()
    coming = forecast.of_study(opened, study_id, limits, retry_unknown=False, retry_failed=False)
    print_plan(asked.prompts if new else None, coming, None, name=name, new=new)
    if _run(opened, study_id, limits, providers.open, True, False, False).stopped:
        raise typer.Exit(130)
    return name


def _prompts(given: list[str], prompt_set: str | None) -> Prompts:
    from diptych.studies.prompts import prompt_set as shipped
    from diptych.studies.prompts import read_prompts

    if given and prompt_set:
        raise InvalidRequest("Prompts are given twice: as PROMPTS and with --prompts. Leave one out.")
    return read_prompts(given) if given else shipped(prompt_set or DEFAULT_SET)


def _prices(given: list[str]) -> dict[str, float]:
    prices = {}
    for name, value in pairs(given, "--price").items():
        try:
            prices[name] = float(value)
        except ValueError:
            prices[name] = -1.0
        if not 0 <= prices[name] < float("inf"):
            raise InvalidRequest(f"--price {name} is {value!r}; it is dollars a picture, as in --price {name}=0.04.")
    return prices


def _providers(on: str | None, gpus: float | None, actors: int) -> OpenProvider:
    from diptych import providers

    if on is None:
        if gpus is not None:
            raise InvalidRequest("--gpus goes with --on ray.")
        return providers.open
    if on != "ray" and not on.startswith("ray://"):
        raise InvalidRequest(f"--on is {on!r}; it is ray, or ray://HOST:PORT.")
    from diptych.studies.on_ray import open_on_ray

    return open_on_ray(on, gpus, actors)


def _check(asked: Plan, open_provider: OpenProvider) -> None:
    from diptych.studies.run import check

    check(
        [(one.model, [asked.request(one, prompt, 0) for prompt in asked.prompts.prompts]) for one in asked.contestants],
        open_provider,
    )


def _confirm(coming: Forecast, yes: bool) -> None:
    if yes or coming.total == 0:
        return
    what = "an unknown amount" if coming.total is None else f"about ${coming.total:,.2f}"
    if not sys.stdin.isatty():
        raise StudyError(f"This costs {what}, and nobody is here to agree: say --yes to spend it.")
    if not typer.confirm(f"Spend {what}?", err=True):
        raise typer.Exit(1)


def _run(
    opened: Store,
    study_id: int,
    limits: dict[str, int],
    open_provider: OpenProvider,
    measure: bool,
    retry_unknown: bool,
    retry_failed: bool,
) -> Outcome:
    from diptych.cli.study_view import StudyProgress
    from diptych.studies import run as running

    async def go() -> Outcome:
        stop = asyncio.Event()
        with StudyProgress(opened, study_id) as progress, _pool(measure) as pool, _stopping(stop, progress):
            return await running.run(
                opened,
                study_id,
                concurrency=limits,
                pool=pool,
                retry_unknown=retry_unknown,
                retry_failed=retry_failed,
                on_event=progress.event,
                stop=stop,
                open_provider=open_provider,
            )

    return asyncio.run(go())


@contextlib.contextmanager
def _pool(measure: bool) -> Iterator[Pool | None]:
    if not measure:
        yield None
        return
    from diptych.measure import Pool

    with Pool() as pool:
        yield pool


@contextlib.contextmanager
def _stopping(stop: asyncio.Event, progress: StudyProgress) -> Iterator[None]:
    """The first Ctrl-C asks for nothing more and waits for what is under way; the second leaves that, too."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupted() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        else:
            stop.set()
            progress.say("Stopping: waiting for what was asked for. Ctrl-C again leaves it for the next time.")

    try:
        loop.add_signal_handler(signal.SIGINT, interrupted)
    except NotImplementedError:  # Windows: Ctrl-C cancels at once, and the next run goes on
        yield
        return
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGINT)
