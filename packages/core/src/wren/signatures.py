"""How `call_async`, `map` and `map_reduce` may be called, as type checkers see it; for `wren.executor`.

A function's return type is carried to the futures.  Each element, all of one kind, is held against the parameters that
it becomes: one as it stands, a tuple's parts for functions of up to three parameters.  What is right as `f(x)` or
`f(*t)` is right here, too, and what wren fills in need not be given.  Where names or values decide, anything goes: for
dicts, lists, `extra_params`, the other spellings, and functions of more parameters.  `tests/typing` shows it all.

The overloads are many lines, for each method writes its own: the type system has no way to share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
    overload,
)

if TYPE_CHECKING:
    from wren.futures import Future
    from wren.job import RetryOn

__all__ = ["CallAsync", "CallKeywords", "Map", "MapKeywords", "MapReduce", "MapReduceKeywords"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")

Extra: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
Env: TypeAlias = Mapping[str, Any] | None
Modules: TypeAlias = Iterable[Any] | None


class CallKeywords(TypedDict, total=False):
    """What `call_async` takes behind function and data."""

    extra_env: Env
    runtime_memory: int | None
    timeout: float | None
    include_modules: Modules
    exclude_modules: Modules
    retries: int | None
    retry_on: RetryOn | None
    persist: bool | None


class _Mapping(TypedDict, total=False):
    extra_env: Env
    timeout: float | None
    include_modules: Modules
    exclude_modules: Modules
    chunk_size: int | None
    chunk_n: int | None
    invoke_pool_threads: int
    calls_per_activation: int
    retries: int | None
    retry_on: RetryOn | None
    persist: bool | None


class _Extra(TypedDict, total=False):
    extra_params: Extra
    extra_args: Extra


class _Data(_Extra, total=False):
    map_iterdata: Iterable[Any]
    iterdata: Iterable[Any]


class _Reducer(_Extra, total=False):
    reduce_function: Callable[..., Any]
    reduce_func: Callable[..., Any]


class MapKeywords(_Mapping, total=False):
    """What `map` takes behind function, data and `extra_params`."""

    runtime_memory: int | None


class MapReduceKeywords(_Mapping, total=False):
    """What `map_reduce` takes behind functions, data and `extra_params`."""

    reducer_wait_local: bool
    map_runtime_memory: int | None
    reduce_runtime_memory: int | None
    reducer_one_per_object: bool


class ExtraMapKeywords(MapKeywords, _Extra, total=False):
    """With the function and data before them."""


class DataMapKeywords(MapKeywords, _Data, total=False):
    """With the function before them."""


class ExtraMapReduceKeywords(MapReduceKeywords, _Extra, total=False):
    """With the functions and data before them."""


class ReducerKeywords(MapReduceKeywords, _Reducer, total=False):
    """With the map's function and data before them."""


class DataMapReduceKeywords(ReducerKeywords, _Data, total=False):
    """With the map's function before them."""


# ---- functions that begin with a parameter which wren fills in, told by its name


class _Id(Protocol[T_co]):
    def __call__(self, id: Any, *args: Any, **kwargs: Any) -> T_co: ...


class _Storage(Protocol[T_co]):
    def __call__(self, storage: Any, *args: Any, **kwargs: Any) -> T_co: ...


class _InternalStorage(Protocol[T_co]):
    def __call__(self, internal_storage: Any, *args: Any, **kwargs: Any) -> T_co: ...


class _IbmCos(Protocol[T_co]):
    def __call__(self, ibm_cos: Any, *args: Any, **kwargs: Any) -> T_co: ...


class _Rabbitmq(Protocol[T_co]):
    def __call__(self, rabbitmq: Any, *args: Any, **kwargs: Any) -> T_co: ...


class _Obj(Protocol[T_co]):
    def __call__(self, obj: Any, *args: Any, **kwargs: Any) -> T_co: ...


class _Url(Protocol[T_co]):
    def __call__(self, url: Any, *args: Any, **kwargs: Any) -> T_co: ...


if TYPE_CHECKING:
    # What stands behind the checked parameters has a default or is filled in.
    _One: TypeAlias = Callable[Concatenate[A, P], T]
    _Two: TypeAlias = Callable[Concatenate[A, B, P], T]
    _Gap: TypeAlias = Callable[Concatenate[A, Any, B, P], T]  # the second is filled in
    _Three: TypeAlias = Callable[Concatenate[A, B, C, P], T]
    _Several: TypeAlias = Callable[Concatenate[Any, Any, P], T]
    _Uniform: TypeAlias = Callable[[A], T] | Callable[[A, A], T] | Callable[[A, A, A], T]  # a tuple of unknown length
    _Many: TypeAlias = Callable[Concatenate[Any, Any, Any, Any, P], T]  # too many to be checked
    # Of use where no `T` is wanted: mypy infers none from a union.
    _Named: TypeAlias = (
        _Id[object]
        | _Storage[object]
        | _InternalStorage[object]
        | _IbmCos[object]
        | _Rabbitmq[object]
        | _Obj[object]
        | _Url[object]
    )


# ---- the methods


class CallAsync(Protocol):
    """`FunctionExecutor.call_async`."""

    @overload
    def __call__(self, func: Callable[[*Ts], T], data: tuple[*Ts], **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: Callable[[A], T], data: A, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _One[A, P, T], data: A | tuple[A], **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Two[A, B, P, T], data: tuple[A, B], **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Gap[A, B, P, T], data: tuple[A, B], **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(
        self, func: _Three[A, B, C, P, T], data: tuple[A, B, C], **keywords: Unpack[CallKeywords]
    ) -> Future[T]: ...
    @overload
    def __call__(self, func: _Uniform[A, T], data: tuple[A, ...], **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Several[P, T], data: list[Any], **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(
        self, func: Callable[..., T], data: Mapping[str, Any], **keywords: Unpack[CallKeywords]
    ) -> Future[T]: ...
    @overload
    def __call__(self, func: _Id[T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Storage[T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _InternalStorage[T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _IbmCos[T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Rabbitmq[T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Obj[T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Url[T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(self, func: _Many[P, T], data: Any, **keywords: Unpack[CallKeywords]) -> Future[T]: ...
    @overload
    def __call__(
        self,
        func: Callable[..., T],
        data: Any,
        extra_env: Env,
        /,
        runtime_memory: int | None = ...,
        timeout: float | None = ...,
        include_modules: Modules = ...,
        exclude_modules: Modules = ...,
        *,
        retries: int | None = ...,
        retry_on: RetryOn | None = ...,
        persist: bool | None = ...,
    ) -> Future[T]: ...


class Map(Protocol):
    """`FunctionExecutor.map`."""

    @overload
    def __call__(
        self, map_function: Callable[[*Ts], T], map_iterdata: Iterable[tuple[*Ts]], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: Callable[[A], T], map_iterdata: Iterable[A], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _One[A, P, T], map_iterdata: Iterable[A | tuple[A]], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Two[A, B, P, T], map_iterdata: Iterable[tuple[A, B]], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Gap[A, B, P, T], map_iterdata: Iterable[tuple[A, B]], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self,
        map_function: _Three[A, B, C, P, T],
        map_iterdata: Iterable[tuple[A, B, C]],
        **keywords: Unpack[MapKeywords],
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Uniform[A, T], map_iterdata: Iterable[tuple[A, ...]], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Several[P, T], map_iterdata: Iterable[list[Any]], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: Callable[..., T], map_iterdata: Iterable[Mapping[str, Any]], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Id[T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Storage[T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _InternalStorage[T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _IbmCos[T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Rabbitmq[T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Obj[T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Url[T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: _Many[P, T], map_iterdata: Iterable[Any], **keywords: Unpack[MapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self,
        map_function: Callable[..., T],
        map_iterdata: Iterable[Any],
        extra_params: Extra,
        extra_env: Env = ...,
        runtime_memory: int | None = ...,
        timeout: float | None = ...,
        include_modules: Modules = ...,
        exclude_modules: Modules = ...,
        chunk_size: int | None = ...,
        chunk_n: int | None = ...,
        invoke_pool_threads: int = ...,
        *,
        calls_per_activation: int = ...,
        retries: int | None = ...,
        retry_on: RetryOn | None = ...,
        persist: bool | None = ...,
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self,
        map_function: Callable[..., T],
        map_iterdata: Iterable[Any],
        *,
        extra_args: Extra,
        **keywords: Unpack[MapKeywords],
    ) -> list[Future[T]]: ...
    @overload
    def __call__(
        self, map_function: Callable[..., T], *, iterdata: Iterable[Any], **keywords: Unpack[ExtraMapKeywords]
    ) -> list[Future[T]]: ...
    @overload
    def __call__(self, *, func: Callable[..., T], **keywords: Unpack[DataMapKeywords]) -> list[Future[T]]: ...


class MapReduce(Protocol):
    """`FunctionExecutor.map_reduce`."""

    @overload
    def __call__(
        self,
        map_function: Callable[[*Ts], T],
        map_iterdata: Iterable[tuple[*Ts]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: Callable[[A], T],
        map_iterdata: Iterable[A],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _One[A, P, T],
        map_iterdata: Iterable[A | tuple[A]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _Two[A, B, P, T],
        map_iterdata: Iterable[tuple[A, B]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _Gap[A, B, P, T],
        map_iterdata: Iterable[tuple[A, B]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _Three[A, B, C, P, T],
        map_iterdata: Iterable[tuple[A, B, C]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _Uniform[A, T],
        map_iterdata: Iterable[tuple[A, ...]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _Several[P, T],
        map_iterdata: Iterable[list[Any]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: Callable[..., T],
        map_iterdata: Iterable[Mapping[str, Any]],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _Named,
        map_iterdata: Iterable[Any],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: _Many[P, T],
        map_iterdata: Iterable[Any],
        reduce_function: Callable[..., Any],
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: Callable[..., Any],
        map_iterdata: Iterable[Any],
        reduce_function: Callable[..., Any],
        extra_params: Extra,
        reducer_wait_local: bool = ...,
        extra_env: Env = ...,
        map_runtime_memory: int | None = ...,
        reduce_runtime_memory: int | None = ...,
        timeout: float | None = ...,
        include_modules: Modules = ...,
        exclude_modules: Modules = ...,
        chunk_size: int | None = ...,
        chunk_n: int | None = ...,
        reducer_one_per_object: bool = ...,
        invoke_pool_threads: int = ...,
        *,
        calls_per_activation: int = ...,
        retries: int | None = ...,
        retry_on: RetryOn | None = ...,
        persist: bool | None = ...,
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: Callable[..., Any],
        map_iterdata: Iterable[Any],
        reduce_function: Callable[..., Any],
        *,
        extra_args: Extra,
        **keywords: Unpack[MapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self,
        map_function: Callable[..., Any],
        map_iterdata: Iterable[Any],
        *,
        reduce_func: Callable[..., Any],
        **keywords: Unpack[ExtraMapReduceKeywords],
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self, map_function: Callable[..., Any], *, iterdata: Iterable[Any], **keywords: Unpack[ReducerKeywords]
    ) -> list[Future[Any]]: ...
    @overload
    def __call__(self, *, func: Callable[..., Any], **keywords: Unpack[DataMapReduceKeywords]) -> list[Future[Any]]: ...
    @overload
    def __call__(
        self, *, map_func: Callable[..., Any], **keywords: Unpack[DataMapReduceKeywords]
    ) -> list[Future[Any]]: ...
