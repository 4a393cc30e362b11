"""Studies: the same prompts to several models, planned, run, gone on with, and read.

plan      prompts x contestants x samples, what they will cost, and which settings a model refuses
run       every sample a row before it is asked for; nothing is paid twice
results   what a study holds so far, as records
"""
