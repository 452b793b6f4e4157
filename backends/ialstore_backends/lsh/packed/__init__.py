"""The numerical core of the layout `packed`: pure functions of bytes and arrays, without I/O.

A search: ``decode_head``, ``prepare`` the query, ``cells_to_read``, a ``View`` of codes and tail,
``rank``, and ``Ranking.next_rows`` until it names none. A write: ``EntryFormat.encode`` with the
mean of the head, or a ``tombstone``. Maintenance: ``due`` says when, ``merge`` and ``encode_all``
say what to write. Entries are good only with the mean of the head's ``version``: segments of the
tail carry that version, and what is of another one has to be encoded again from its row.
"""
