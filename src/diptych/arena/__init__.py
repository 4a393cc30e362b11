"""Blind comparison as arithmetic: which pair next, what the votes say, when they suffice.

    votes       votes as columns of numbers
    pairs       which two pictures to show next
    ratings     the Davidson model, its intervals, ranks
    betting     evidence about a mean score
    stopping    when to stop, at a stated chance of a false alarm, however often one looks
    claims      of what, and for whom, all that holds: in words
    agreement   whether judges agree, and which of them to look at
    elo         ratings that move with every vote, for those who expect them
    pareto      which models no other one beats in quality, cost and time together

Pure functions of their arguments: no clock, no disk, no randomness that is not handed in.
"""
