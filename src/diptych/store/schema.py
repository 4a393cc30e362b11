"""The tables.

    studies ──< prompts
            ──< contestants          a model with its settings, as this study asks it
    samples                          prompt x contestant x number: one cell, made before anything is asked
            ──< attempts             each time it was asked: written before the request is sent, never changed after
    measurements                     numbers read off a picture, by its hash
    judges ──< trials ──< votes      two samples of one prompt on two sides, and what a judge said of them

A sample's result is that of its last attempt. What counts against the budget is summed over all attempts: `charge` once
that is known or decided, until then what was `reserved`.

Votes are never changed. One that was taken back is followed by a row that says so, and what counts of a trial and
criterion is its last vote that was not taken back. Ratings are computed from votes, never stored.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class Words(TypeDecorator[str]):
    """Text from elsewhere: any length; what a database cannot hold (halves of characters, NUL) is replaced.

    A vendor's odd answer must not make the record of a paid picture fail.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        if value is None:
            return None
        return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

STATES = ("planned", "sent", "waiting", "done", "refused", "failed", "unknown")
"""planned: never asked. sent: asked, no answer yet. waiting: the vendor has taken it, and gave a handle to ask with.
unknown: sent, never answered, nothing to ask with: possibly charged."""

studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("fingerprint", String(64), nullable=False),  # of what was asked for: the same command finds its study again
    Column("created", String(32), nullable=False),  # ISO 8601 in UTC, as are all times
    Column("budget", Float),
    Column("seed", BigInteger),
    Column("settings", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
)

prompts = Table(
    "prompts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("category", String(64)),
    UniqueConstraint("study_id", "position"),
)

contestants = Table(
    "contestants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("label", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("values", JSON, nullable=False),  # settings as given
    Column("facts", JSON, nullable=False),  # the catalogue's entry as it was then
    Column("estimate", Float),  # dollars a picture
    Column("estimate_source", JSON(none_as_null=True)),
    UniqueConstraint("study_id", "label"),
)

samples = Table(
    "samples",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("contestant_id", ForeignKey("contestants.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("request", JSON, nullable=False),  # resolved: as it will be sent
    Column("state", String(16), nullable=False),
    # The result of the last attempt
    Column("finished", String(32)),
    Column("picture", String(64)),  # SHA-256 of the original bytes
    Column("media_type", String(32)),
    Column("width", Integer),
    Column("height", Integer),
    Column("bytes", BigInteger),
    Column("timing", JSON(none_as_null=True)),
    Column("seconds", Float),
    Column("cost", Float),  # dollars; null is unknown
    Column("cost_basis", String(16)),
    Column("usage", JSON(none_as_null=True)),
    Column("text", Words),
    Column("recipe", JSON(none_as_null=True)),
    Column("error", Words),
    Column("error_kind", Words),
    Column("request_id", Words),
    UniqueConstraint("prompt_id", "contestant_id", "number"),
    Index(None, "study_id", "state"),
    Index(None, "contestant_id", "state", "number"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("sample_id", ForeignKey("samples.id"), nullable=False),
    Column("sent", String(32), nullable=False),
    Column("reserved", Float, nullable=False),
    Column("handle", Text),
    Column("ended", String(32)),
    Column("outcome", String(16)),  # done, refused, failed, unknown; null while it is under way
    Column("charge", Float),  # dollars that count against the budget, once decided
    Column("error", Words),
    Column("request_id", Words),
    Index(None, "study_id", "ended"),
    Index(None, "sample_id"),
)

measurements = Table(
    "measurements",
    metadata,
    Column("picture", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("values", JSON, nullable=False),
)

CHOICES = ("left", "right", "tie", "both_bad", "skip", "inconsistent")
"""What a vote may say. `inconsistent` is of a model that chose otherwise when the sides were swapped."""

judges = Table(
    "judges",
    metadata,
    Column("id", String(64), primary_key=True),  # opaque
    Column("kind", String(16), nullable=False),  # person, model
    Column("name", String(200)),  # of a model; a person has none here
    Column("created", String(32), nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("studies.id"), nullable=False),
    Column("token", String(32), nullable=False, unique=True),  # what the browser knows it by: random
    Column("judge_id", ForeignKey("judges.id"), nullable=False),
    Column("prompt_id", ForeignKey("prompts.id"), nullable=False),
    Column("left_sample_id", ForeignKey("samples.id"), nullable=False),
    Column("right_sample_id", ForeignKey("samples.id"), nullable=False),
    Column("left_contestant_id", ForeignKey("contestants.id"), nullable=False),  # known from the sample: for speed
    Column("right_contestant_id", ForeignKey("contestants.id"), nullable=False),
    Column("policy", String(16), nullable=False),  # how the pair was chosen
    Column("shown", String(32), nullable=False),
    Index(None, "study_id", "judge_id"),
)

votes = Table(
    "votes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial_id", ForeignKey("trials.id"), nullable=False),
    Column("criterion", String(32), nullable=False),
    Column("choice", String(16)),  # null: this row takes another one back
    Column("takes_back", ForeignKey("votes.id")),
    Column("key", String(64), nullable=False, unique=True),  # the sender's: what is sent twice counts once
    Column("seconds", Float),  # from seeing both pictures to voting
    Column("reason", Text),  # a model's
    Column("cast", String(32), nullable=False),
    Index(None, "trial_id"),
    Index(None, "takes_back"),
)
