"""The layout `packed`: its numerical core, pure functions of bytes and arrays, and its requests.

The core. A search: ``decode_head``, ``prepare`` the query, ``cells_to_read``, a ``View`` of codes
and tail, ``rank``, and ``Ranking.next_rows`` until it names none. A write: ``EntryFormat.encode``
with the mean of the head, or a ``tombstone``. Maintenance: ``due`` says when, ``merge`` and
``encode_all`` say what to write. Entries are good only with the mean of the head's ``version``.

The requests. ``tail_reading`` and ``tail_writing`` have those for the codes of a user, whose form
``tail_items`` knows as ``rows`` that of vectors; ``writing``, ``reading``, ``plan`` and
``maintenance`` are the calls of an index, which ``layout`` puts together.
"""
