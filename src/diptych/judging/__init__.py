"""The blind test: pairs handed to people on a page, and to models.

    blind.py      what of two pictures reaches the browser: pixels, and nothing else that tells them apart
    marks.py      marks in a corner that would give a model away
    deck.py       which pictures of a study can be shown against each other
    history.py    what judges were shown and said before
    known.py      what the votes say so far: in blind words, and in full for the end
    sitting.py    a sitting without HTTP: next pair, vote, take back, progress, end
    together.py   what many ask for at the same instant, done in one go
    app.py        the same over HTTP
    doors.py      who may come in: names of this machine, the join code
    serving.py    address and port, and the server
    page/         what the browser gets: HTML, CSS and modules, as they are
    models.py     the same pairs put to a vision model
    agreeing.py   whether it judges as people do

Importing this room is cheap: Pillow, numpy and FastAPI come with the first sitting.
"""
