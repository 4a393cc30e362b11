"""judges, trials and votes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "judges",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judges")),
    )
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("judge_id", sa.String(length=64), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("left_sample_id", sa.Integer(), nullable=False),
        sa.Column("right_sample_id", sa.Integer(), nullable=False),
        sa.Column("left_contestant_id", sa.Integer(), nullable=False),
        sa.Column("right_contestant_id", sa.Integer(), nullable=False),
        sa.Column("policy", sa.String(length=16), nullable=False),
        sa.Column("shown", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["judge_id"], ["judges.id"], name=op.f("fk_trials_judge_id")),
        sa.ForeignKeyConstraint(["left_contestant_id"], ["contestants.id"], name=op.f("fk_trials_left_contestant_id")),
        sa.ForeignKeyConstraint(["left_sample_id"], ["samples.id"], name=op.f("fk_trials_left_sample_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_trials_prompt_id")),
        sa.ForeignKeyConstraint(
            ["right_contestant_id"], ["contestants.id"], name=op.f("fk_trials_right_contestant_id")
        ),
        sa.ForeignKeyConstraint(["right_sample_id"], ["samples.id"], name=op.f("fk_trials_right_sample_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_trials_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trials")),
        sa.UniqueConstraint("token", name=op.f("uq_trials_token")),
    )
    with op.batch_alter_table("trials", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trials_study_id_judge_id"), ["study_id", "judge_id"], unique=False)

    op.create_table(
        "votes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("criterion", sa.String(length=32), nullable=False),
        sa.Column("choice", sa.String(length=16), nullable=True),
        sa.Column("takes_back", sa.Integer(), nullable=True),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("cast", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["takes_back"], ["votes.id"], name=op.f("fk_votes_takes_back")),
        sa.ForeignKeyConstraint(["trial_id"], ["trials.id"], name=op.f("fk_votes_trial_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_votes")),
        sa.UniqueConstraint("key", name=op.f("uq_votes_key")),
    )
    with op.batch_alter_table("votes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_votes_takes_back"), ["takes_back"], unique=False)
        batch_op.create_index(batch_op.f("ix_votes_trial_id"), ["trial_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("votes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_votes_trial_id"))
        batch_op.drop_index(batch_op.f("ix_votes_takes_back"))

    op.drop_table("votes")
    with op.batch_alter_table("trials", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trials_study_id_judge_id"))

    op.drop_table("trials")
    op.drop_table("judges")
