"""The backends that come with ialstore: one module or package per backend.

Nothing here imports a driver before a store of its kind is opened. Open stores by URL with
``ialstore.open_store`` and ``ialstore.open_index``.
"""
