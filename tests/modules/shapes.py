"""Shapes of users' code, each with what must come out of it where nothing of the user's is installed.

Folders are regular packages where they have an `__init__.py` here.  `call` is evaluated where the client runs, after
`imports`: the function, and what it is called with.
"""

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Shape:
    """A user's files by their paths, and a call."""

    name: str
    files: dict[str, str]
    imports: str
    call: str
    expected: Any
    keywords: dict[str, Any] = field(default_factory=dict)


SHAPES: Final = [
    Shape("a function in a module", {"s01.py": "def f(x): return x + 1"}, "import s01", "s01.f, 1", 2),
    Shape(
        "a function in a package",
        {"s02/__init__.py": "", "s02/deep/__init__.py": "", "s02/deep/er.py": "def f(x): return x + 1"},
        "import s02.deep.er",
        "s02.deep.er.f, 1",
        2,
    ),
    Shape(
        "relative imports",
        {
            "s03/__init__.py": "from .base import offset",
            "s03/base.py": "offset = 10",
            "s03/sub/__init__.py": "from .. import base\nfrom ..base import offset as o",
            "s03/sub/leaf.py": "from . import o, base\nfrom .. import offset\ndef f(x): return x + o + base.offset + offset",
        },
        "from s03.sub.leaf import f",
        "f, 1",
        31,
    ),
    Shape(
        "a module that imports modules beside it",
        {"s04.py": "import s04a\ndef f(x): return s04a.g(x)", "s04a.py": "from s04b import h as g", "s04b.py": "def h(x): return -x"},
        "import s04",
        "s04.f, 1",
        -1,
    ),
    Shape(
        "a class hierarchy over several modules",
        {
            "s05/__init__.py": "",
            "s05/base.py": "import abc\nclass Base(abc.ABC):\n @abc.abstractmethod\n def area(self): ...",
            "s05/square.py": "from s05.base import Base\nclass Square(Base):\n def __init__(self, a): self.a = a\n def area(self): return self.a ** 2",
            "s05/use.py": "def f(shape): return shape.area()",
        },
        "import s05.use, s05.square",
        "s05.use.f, s05.square.Square(3)",
        9,
    ),
    Shape(
        "a decorator",
        {
            "s06/__init__.py": "",
            "s06/deco.py": "import functools\ndef twice(f):\n @functools.wraps(f)\n def g(*a): return 2 * f(*a)\n return g",
            "s06/use.py": "from .deco import twice\n@twice\ndef f(x): return x",
        },
        "import s06.use",
        "s06.use.f, 4",
        8,
    ),
    Shape(
        "a dataclass with a default factory",
        {
            "s07.py": "from dataclasses import dataclass, field\nfrom s07a import make\n"
            "@dataclass\nclass Box:\n  items: list = field(default_factory=make)\n"
            "def f(box): return box.items + Box().items",
            "s07a.py": "def make(): return [7]",
        },
        "import s07",
        "s07.f, s07.Box([1])",
        [1, 7],
    ),
    Shape(
        "a numpy ufunc in a module",
        {"s08.py": "import numpy as np\nscale = np.frompyfunc(lambda x: 3 * x, 1, 1)\ndef f(x): return int(np.add.reduce(scale(np.arange(x))))"},
        "import s08",
        "s08.f, 4",
        18,
    ),
    Shape("a numpy ufunc as the function", {}, "import numpy", "numpy.add, (1, 2)", 3),
    Shape(
        "numpy data",
        {"s10.py": "def f(array): return float(array.sum())"},
        "import s10, numpy",
        "s10.f, numpy.ones(100_000)",
        100_000.0,
    ),
    Shape(
        "circular imports",
        {
            "s11/__init__.py": "from . import a",
            "s11/a.py": "from . import b\ndef f(x): return b.g(x)\ndef h(x): return x * 2",
            "s11/b.py": "from . import a\ndef g(x): return a.h(x)",
        },
        "import s11",
        "s11.a.f, 2",
        4,
    ),
    Shape(
        "an optional import in a try",
        {"s12.py": "try:\n import missing_s12 as json\nexcept ImportError:\n import json\ndef f(x): return json.dumps(x)"},
        "import s12",
        "s12.f, 1",
        "1",
    ),
    Shape(
        "an import for type checkers only",
        {"s13.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from missing_s13 import X\ndef f(x: 'X'): return x"},
        "import s13",
        "s13.f, 1",
        1,
    ),
    Shape(
        "an import of another platform",
        {"s14.py": "import sys\nif sys.platform == 'win32':\n import missing_s14\nelse:\n import posixpath\ndef f(x): return posixpath.join('a', x)"},
        "import s14",
        "s14.f, 'b'",
        "a/b",
    ),
    Shape(
        "an optional import of suppress",
        {"s15.py": "import contextlib\nwith contextlib.suppress(ImportError):\n import missing_s15\ndef f(x): return x"},
        "import s15",
        "s15.f, 1",
        1,
    ),
    Shape(
        "a data file by importlib.resources",
        {
            "s16/__init__.py": "",
            "s16/data/words.txt": "one two",
            "s16/use.py": "from importlib.resources import files\ndef f(n): return (files('s16') / 'data' / 'words.txt').read_text().split()[n]",
        },
        "import s16.use",
        "s16.use.f, 1",
        "two",
    ),
    Shape(
        "a data file by __file__",
        {
            "s17/__init__.py": "from pathlib import Path\ndef f(n): return Path(__file__).with_name('t.csv').read_text().split(',')[n]",
            "s17/t.csv": "a,b",
        },
        "import s17",
        "s17.f, 1",
        "b",
    ),
    Shape(
        "a namespace package",
        {"s18/part/__init__.py": "from s18.part.inner import g", "s18/part/inner.py": "def g(x): return x * 5", "s18/alone.py": "from s18.part import g\ndef f(x): return g(x)"},
        "import s18.alone",
        "s18.alone.f, 2",
        10,
    ),
    Shape(
        "an import in the function's body",
        {"s19.py": "def f(x):\n import s19a\n return s19a.g(x)", "s19a.py": "def g(x): return x + 100"},
        "import s19",
        "s19.f, 1",
        101,
    ),
    Shape(
        "an import in a method's body, of a package",
        {
            "s20.py": "class C:\n def m(self, x):\n  if x:\n   from s20p.q import g\n  return g(x)",
            "s20p/__init__.py": "",
            "s20p/q.py": "def g(x): return [x]",
        },
        "import s20",
        "s20.C().m, 1",
        [1],
    ),
    Shape(
        "a closure",
        {"s21.py": "import s21a\ndef make(k):\n def f(x): return s21a.g(x) * k\n return f", "s21a.py": "def g(x): return x + 1"},
        "import s21",
        "s21.make(10), 1",
        20,
    ),
    Shape(
        "a closure with a relative import in its body",
        {
            "s22/__init__.py": "",
            "s22/make.py": "def make():\n def f(x):\n  from .helper import g\n  return g(x)\n return f",
            "s22/helper.py": "from s22x import g",
            "s22x.py": "def g(x): return x - 1",
        },
        "import s22.make",
        "s22.make.make(), 1",
        0,
    ),
    Shape("a lambda of a module", {"s23.py": "k = 3\nf = lambda x: x * k"}, "import s23", "s23.f, 2", 6),
    Shape(
        "a bound method with state of a class elsewhere",
        {"s24.py": "class Model:\n def __init__(self, w): self.w = w\n def predict(self, x): return self.w.value * x", "s24w.py": "class W:\n value = 4"},
        "import s24, s24w",
        "s24.Model(s24w.W()).predict, 2",
        8,
    ),
    Shape(
        "a class method",
        {"s25.py": "class C:\n k = 2\n @classmethod\n def f(cls, x): return cls.k * x\n @staticmethod\n def g(x): return x"},
        "import s25",
        "s25.C.f, 2",
        4,
    ),
    Shape(
        "a callable object",
        {"s26.py": "class Add:\n def __init__(self, n): self.n = n\n def __call__(self, x): return self.n + x"},
        "import s26",
        "s26.Add(5), 2",
        7,
    ),
    Shape(
        "a partial",
        {"s27.py": "def f(k, x): return k(x)", "s27k.py": "def k(x): return x ** 3"},
        "import s27, s27k, functools",
        "functools.partial(s27.f, s27k.k), 2",
        8,
    ),
    Shape(
        "an enum as an argument",
        {"s28.py": "import enum\nclass Colour(enum.Enum):\n RED = 1\n BLUE = 2\ndef f(c): return c is Colour.BLUE"},
        "import s28",
        "s28.f, s28.Colour.BLUE",
        True,
    ),
    Shape(
        "data of a class that only the data knows",
        {"s29.py": "def f(points): return sum(p.x for p in points)", "s29d.py": "from typing import NamedTuple\nclass P(NamedTuple):\n x: int"},
        "import s29, s29d",
        "s29.f, [s29d.P(1), s29d.P(2)]",
        3,
    ),
    Shape(
        "a result of the user's class",
        {"s30.py": "from dataclasses import dataclass\n@dataclass\nclass R:\n x: int\ndef f(x): return R(x)"},
        "import s30",
        "s30.f, 1",
        "R(x=1)",
    ),
    Shape(
        "generics and protocols",
        {"s31.py": "from typing import Generic, Protocol, TypeVar\nT = TypeVar('T')\nclass S(Protocol):\n def size(self) -> int: ...\nclass B(Generic[T]):\n def __init__(self, t: T): self.t = t\n def size(self): return 11\ndef f(b: S): return b.size()"},
        "import s31",
        "s31.f, s31.B[int](1)",
        11,
    ),
    Shape(
        "properties, cached ones and descriptors",
        {"s32.py": "from functools import cached_property\nclass D:\n def __get__(self, o, t): return 1\nclass C:\n d = D()\n @property\n def p(self): return 2\n @cached_property\n def c(self): return 3\ndef f(c): return c.d + c.p + c.c"},
        "import s32",
        "s32.f, s32.C()",
        6,
    ),
    Shape(
        "a cached function",
        {"s33.py": "from functools import lru_cache\n@lru_cache\ndef f(x): return x + 1"},
        "import s33",
        "s33.f, 1",
        2,
    ),
    Shape(
        "a star import",
        {"s34/__init__.py": "from .a import *", "s34/a.py": "from s34b import *\n__all__ = ['f', 'g']\ndef f(x): return g(x)", "s34b.py": "def g(x): return x * 9"},
        "import s34",
        "s34.f, 1",
        9,
    ),
    Shape(
        "a submodule by attribute",
        {"s35/__init__.py": "", "s35/sub.py": "def g(x): return x + 2", "s35u.py": "import s35.sub\ndef f(x): return s35.sub.g(x)"},
        "import s35u",
        "s35u.f, 1",
        3,
    ),
    Shape(
        "a package with lazy attributes",
        {
            "s36/__init__.py": "def __getattr__(n):\n if n != 'f': raise AttributeError(n)\n from importlib import import_module\n return import_module('.late', __name__).f",
            "s36/late.py": "def f(x): return x + 3",
        },
        "import s36",
        "s36.f, 1",
        4,
    ),
    Shape(
        "plugins of a package by name",
        {
            "s37/__init__.py": "import importlib\ndef f(name): return importlib.import_module(f's37.plugins.{name}').value",
            "s37/plugins/one.py": "value = 1",
        },
        "import s37",
        "s37.f, 'one'",
        1,
    ),
    Shape(
        "plugins of a package by pkgutil",
        {
            "s38/__init__.py": "import pkgutil\ndef f(_): return sorted(m.name for m in pkgutil.iter_modules(__path__))",
            "s38/a.py": "",
            "s38/b/__init__.py": "",
        },
        "import s38",
        "s38.f, 1",
        ["a", "b"],
    ),
    Shape(
        "a metaclass",
        {"s39m.py": "class M(type):\n def __call__(cls, *a): return ('made', *a)", "s39.py": "from s39m import M\nclass C(metaclass=M): ...\ndef f(x): return list(C(x))"},
        "import s39",
        "s39.f, 1",
        ["made", 1],
    ),
    Shape(
        "singledispatch over modules",
        {
            "s40/__init__.py": "from .base import f\nfrom . import ints",
            "s40/base.py": "from functools import singledispatch\n@singledispatch\ndef g(x): return 'any'\ndef f(x): return g(x)",
            "s40/ints.py": "from .base import g\n@g.register\ndef _(x: int): return 'int'",
        },
        "import s40",
        "s40.f, 1",
        "int",
    ),
    Shape("a name beyond ASCII", {"s41_größe.py": "def f(x): return x"}, "import s41_größe as m", "m.f, 1", 1),
    Shape(
        "an undetected import, included by name",
        {"s42.py": "import importlib\ndef f(name): return importlib.import_module(name).value", "s42x.py": "value = 42"},
        "import s42",
        "s42.f, 's42x'",
        42,
        {"include_modules": ["s42", "s42x"]},
    ),
    Shape(
        "an asynchronous helper",
        {"s43.py": "import asyncio\nfrom s43a import g\ndef f(x): return asyncio.run(g(x))", "s43a.py": "async def g(x): return x"},
        "import s43",
        "s43.f, 1",
        1,
    ),
    Shape(
        "an object that is rebuilt by a function elsewhere",
        {"s44.py": "from s44b import build\nclass T:\n def __init__(self, v): self.v = v\n def __reduce__(self): return build, (self.v,)\ndef f(t): return t.v", "s44b.py": "def build(v):\n from s44 import T\n return T(v + 1)"},
        "import s44",
        "s44.f, s44.T(1)",
        2,
    ),
    Shape(
        "a generator and a context manager",
        {"s45.py": "from contextlib import contextmanager\n@contextmanager\ndef opened(x): yield x\ndef numbers(n): yield from range(n)\ndef f(n):\n with opened(n) as m: return sum(numbers(m))"},
        "import s45",
        "s45.f, 4",
        6,
    ),
    Shape(
        "a package that knows its name",
        {"s46/__init__.py": "def f(_): return [__name__, __package__, __spec__.name]"},
        "import s46",
        "s46.f, 1",
        ["s46", "s46", "s46"],
    ),
    Shape(
        "a script that is run by path, in the package",
        {"s47/__init__.py": "import subprocess, sys\nfrom pathlib import Path\ndef f(x): return subprocess.check_output([sys.executable, Path(__file__).with_name('tool.py'), str(x)], text=True).strip()", "s47/tool.py": "import sys\nprint(int(sys.argv[1]) + 1)"},
        "import s47",
        "s47.f, 1",
        "2",
    ),
    Shape(
        "a class attribute that is of another module",
        {"s48.py": "import s48c\nclass A:\n helper = s48c.Helper()\n def __call__(self, x): return self.helper(x)", "s48c.py": "class Helper:\n def __call__(self, x): return x // 2"},
        "import s48",
        "s48.A(), 4",
        2,
    ),
]
