"""``bedrock-titan``: embedding by Amazon Titan Text Embeddings V2, a model of Amazon Bedrock.

What becomes of botocore's errors is in ``_bedrock_errors``.
"""

from __future__ import annotations

import importlib
import json
import math
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import numpy as np

from ialstore._text import check_int, check_text
from ialstore.embedding import read_texts, sensible_vectors
from ialstore.errors import (
    ConfigurationError,
    DeadlineExceededError,
    IalStoreError,
    InvalidInputError,
    ThrottledError,
    UnavailableError,
)
from ialstore.limits import DEFAULT_TIMEOUT_SECONDS
from ialstore.operation import check_span, end_of_call
from ialstore_backends._late import Late, require
from ialstore_backends.embedders._bedrock_errors import is_refusal, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import tenacity
    from numpy.typing import NDArray

__all__ = ["DEFAULT_MODEL_ID", "BedrockTitanEmbedder"]

DEFAULT_MODEL_ID: Final = "amazon.titan-embed-text-v2:0"
_DIMENSIONS: Final = (256, 512, 1024)
_MAX_CONCURRENCY: Final = 256
_SURELY_SHORT: Final = 2_000
"""Characters that are never more than 8,192 tokens: a token is a byte of UTF-8 at least."""
_ATTEMPTS: Final = 3
"""Of a request that fails; one that is throttled goes on while there is time."""
_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 5.0


class BedrockTitanEmbedder:
    """Embeds by Amazon Titan Text Embeddings V2.

    The region and the credentials are those of the AWS configuration: environment, profile, role
    of the machine. Needs the permission ``bedrock:InvokeModel`` and access to the model.

    Each distinct text of a call is one request; up to ``max_concurrency`` run at once, over all
    calls. Bedrock limits requests a minute: one that is throttled is sent again, at random times
    that grow further apart, as long as the call has time; one that fails otherwise is sent three
    times in all. The first text that can't be embedded ends the call.

    The model reads at most 8,192 tokens and 50,000 characters, and refuses what is longer. Here a
    longer text is cut, as by every embedder, because its beginning says what it is about and a
    memory without a vector is lost: at 32,768 characters (about 7,000 tokens of English), and
    where those are too many tokens still, in half until it fits, between two characters. A text
    of nothing but spaces, which the model refuses too, has a fixed vector.

    Attributes:
        max_characters: 32,768.
    """

    max_characters: int | None = 32_768

    def __init__(
        self,
        *,
        region: str | None = None,
        dimension: int = 1024,
        normalize: bool = True,
        endpoint: str | None = None,
        profile: str | None = None,
        model_id: str = DEFAULT_MODEL_ID,
        name: str | None = None,
        max_concurrency: int = 8,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        """Make an embedder; connects to nothing.

        Args:
            region: such as ``us-east-1``; by default that of the AWS configuration.
            dimension: 256, 512 or 1,024. By AWS's figures 512 keep 99 % of the accuracy of 1,024,
                and 256 keep 97 %.
            normalize: let the model bring every vector to unit length.
            endpoint: URL of the service instead of the region's, such as a VPC endpoint.
            profile: a profile of the AWS configuration.
            model_id: the model's id, or the ARN of provisioned throughput or of a profile.
            name: what is stored with an index instead of ``model_id``, so that the index stays
                when the same model gets another ARN.
            max_concurrency: requests at once, 1 to 256.
            timeout_seconds: time given to a call outside any ``deadline()``, for each
                ``max_concurrency`` texts in it.

        Raises:
            InvalidInputError: an argument is not as said.
            MissingDriverError: botocore is not installed.
        """
        if type(dimension) is not int or dimension not in _DIMENSIONS:
            raise InvalidInputError("dimension must be 256, 512 or 1024")
        if not isinstance(normalize, bool):
            raise InvalidInputError("normalize must be true or false")
        for what, text in {
            "region": region,
            "endpoint": endpoint,
            "profile": profile,
            "model_id": model_id,
            "name": name,
        }.items():
            if text is not None and check_text(text, what) == 0:
                raise InvalidInputError(f"{what} must not be empty")
        if endpoint is not None:
            _check_endpoint(endpoint)
        check_int(max_concurrency, "max_concurrency", at_least=1, at_most=_MAX_CONCURRENCY)
        check_span(timeout_seconds, "timeout_seconds")
        require("botocore", extra="bedrock", needed_by="the embedder bedrock-titan")
        self._region = region
        self._dimension = dimension
        self._normalize = normalize
        self._endpoint = endpoint
        self._profile = profile
        self._model_id = model_id
        self._name = name or model_id
        self._max_concurrency = max_concurrency
        self._timeout_seconds = timeout_seconds
        self._client: Late[Any] = Late(self._connect, inherited=False)
        self._workers: Late[ThreadPoolExecutor] = Late(
            lambda: ThreadPoolExecutor(max_concurrency, thread_name_prefix="ialstore-bedrock"),
            inherited=False,
        )

    @property
    def model(self) -> str:
        """``amazon.titan-embed-text-v2:0 1024`` by default."""
        return f"{self._name} {self._dimension}{'' if self._normalize else ' raw'}"

    @property
    def dimension(self) -> int:
        """Length of every vector."""
        return self._dimension

    def __repr__(self) -> str:
        return f"BedrockTitanEmbedder(model={self.model!r}, region={self._region!r})"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts to be stored, shape (len(texts), dimension).

        Raises:
            InvalidInputError: a single text was given, or a text is no ``str`` or no valid one.
            ConfigurationError: no region, credentials or model are found.
            AccessDeniedError: the credentials are wrong, expired or not allowed to do this.
            ThrottledError: Bedrock asks for a pause that is longer than the time left.
            DeadlineExceededError: the time is used up.
            UnavailableError: Bedrock did not answer, or not sensibly.
        """
        read = read_texts(texts, self.max_characters)
        distinct = list(dict.fromkeys(text for text in read if text.strip()))
        found = dict(zip(distinct, self._embed_all(distinct), strict=True))
        nothing = np.zeros(self._dimension, np.float32)
        nothing[0] = 1
        vectors = np.empty((len(read), self._dimension), np.float32)
        for row, text in enumerate(read):
            vectors[row] = found.get(text, nothing)
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Return the vector of a text to search with, shape (dimension,).

        Raises:
            IalStoreError: as ``embed``.
        """
        vector: NDArray[np.float32] = self.embed([text])[0]
        return vector

    def _embed_all(self, texts: list[str]) -> list[NDArray[np.float32]]:
        """Return the vectors of texts, each asked for by a worker.

        A request can't be interrupted. When one outlasts the call, later calls get other workers.
        """
        if not texts:
            return []
        rounds = math.ceil(len(texts) / self._max_concurrency)
        until = end_of_call(self._timeout_seconds * rounds)
        failed: dict[str, IalStoreError] = {}
        futures: list[Future[NDArray[np.float32]]] = []
        try:
            workers = self._workers.get()
            futures += [workers.submit(self._embed_one, text, until, failed) for text in texts]
            done, pending = wait(futures, until - time.monotonic(), return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done:
                    future.result()  # which raises, if it failed
            if pending:
                self._workers.forget()  # they end when they have done their requests
                # What failed last says more than that no time was left to repeat it.
                raise next(iter(list(failed.values())), _too_late())
        finally:
            for future in futures:
                future.cancel()
        return [future.result() for future in futures]

    # -- in a worker ----------------------------------------------------------------------------

    def _embed_one(
        self, text: str, until: float, failed: dict[str, IalStoreError]
    ) -> NDArray[np.float32]:
        """Return the vector of a text; what it waits to repeat is in ``failed`` meanwhile."""
        cut = text

        def waits(state: tenacity.RetryCallState) -> None:
            failed[text] = cast("IalStoreError", _error_of(state))

        while True:
            try:
                vector = self._retrying(until, waits)(self._ask, cut)
            except ConfigurationError as error:
                if len(cut) <= _SURELY_SHORT or not is_refusal(error.__cause__):
                    raise
                cut = cut[: max(len(cut) // 2, _SURELY_SHORT)]
            else:
                failed.pop(text, None)
                return vector

    def _retrying(
        self, until: float, before_sleep: Callable[[tenacity.RetryCallState], None]
    ) -> tenacity.Retrying:
        """Return what repeats a request: the only layer that does, botocore is told not to."""
        import tenacity  # slow to import

        left = until - time.monotonic()
        if left <= 0:
            raise _too_late()
        out_of_time = tenacity.stop_before_delay(left)
        failures = 0

        def give_up(state: tenacity.RetryCallState) -> bool:
            nonlocal failures
            failures += not isinstance(_error_of(state), ThrottledError)
            return failures >= _ATTEMPTS or bool(out_of_time(state))

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass),
            stop=give_up,
            wait=tenacity.wait_random_exponential(
                multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS
            ),
            before_sleep=before_sleep,
            reraise=True,
        )

    def _ask(self, text: str) -> NDArray[np.float32]:
        body = {"inputText": text, "dimensions": self._dimension, "normalize": self._normalize}
        try:
            answer = self._client.get().invoke_model(
                modelId=self._model_id,
                contentType="application/json",
                accept="application/json",
                body=json.dumps(body, ensure_ascii=False).encode(),
            )
            data: bytes = answer["body"].read()
        except Exception as error:
            raise translated(error) from error
        try:
            found = json.loads(data)["embedding"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UnavailableError(
                "Bedrock answered without an embedding", operation="embed", retryable=True
            ) from error
        return sensible_vectors(found, (self._dimension,), f"the model {self._name!r}")

    def _connect(self) -> Any:
        session: Any = importlib.import_module("botocore.session")
        config: Any = importlib.import_module("botocore.config")
        return session.Session(profile=self._profile).create_client(
            "bedrock-runtime",
            region_name=self._region,
            endpoint_url=self._endpoint,
            config=config.Config(
                connect_timeout=self._timeout_seconds,
                read_timeout=self._timeout_seconds,
                max_pool_connections=self._max_concurrency,
                retries={"mode": "standard", "total_max_attempts": 1},
            ),
        )


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        is_right = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
    except ValueError:
        is_right = False
    if not is_right:
        # The URL itself is not shown: it may hold a password.
        raise InvalidInputError("endpoint must be a URL such as https://host, without user info")


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, IalStoreError) and error.retryable


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError(
        "embed: Bedrock did not answer in the time given", operation="embed", retryable=True
    )
