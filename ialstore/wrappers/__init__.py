"""Layers around a store or an index: one file each, over the forwarding bases in ``base``.

Only the outermost layer validates and emits the event; it enters the inner ones by their hooks.
"""
