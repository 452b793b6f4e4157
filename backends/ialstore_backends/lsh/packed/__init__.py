"""The numerical core of the layout `packed`: pure functions of bytes and arrays, without I/O."""
