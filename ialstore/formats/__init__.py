"""Files that conversations come from and go to: a reader for each format, a writer for ours.

Readers are generators: they yield messages that are valid and ready to be appended. Reading the
same file again yields the same ids, so importing it twice changes nothing. What is wrong with a
file is an ``InvalidInputError`` that names the place, and never shows what stands there.
"""

from ialstore.formats.jsonl import read_jsonl, write_jsonl
from ialstore.formats.locomo import read_locomo
from ialstore.formats.openai_chat import read_openai_chat

__all__ = ["read_jsonl", "read_locomo", "read_openai_chat", "write_jsonl"]
