"""Which model, and why.

pick.py       limits filter, evidence ranks, and the choice is told with its reasons
limits.py     what a model must keep to: price, seconds, refusals, size, settings, licence
facts.py      what is known of each model: measured here, else published
ranking.py    own votes, or one published scale; never two mixed
records.py    what comes out

from diptych.choose.pick import pick
print(pick(for_="portraits", max_cost=0.05, max_seconds=3))
"""
