"""Stand-ins for the hosted vendors: their wire protocols over real HTTP on loopback, for the vendors' real clients.

What is where:

    vendor.py      what a test tells a vendor to do, and what the vendor saw and charged for
    faults.py      what a vendor can be told to do instead of answering well
    answering.py   from a request to an answer
    server.py      an application under uvicorn on a loopback port
    pictures.py    the pictures that are handed out
    google.py, openai.py, black_forest_labs.py, replicate.py, huggingface.py, fal.py
    fixtures.py    a pytest fixture per vendor, and the vendor as a process
    capture.py     what the vendors' real clients send, kept in payloads/
    __main__.py    a vendor as a process: python -m tests.standins google --journal charges.jsonl

"Real" means that a client of the vendor's cannot tell: nothing inside it is replaced, only the address it is given.
"""
