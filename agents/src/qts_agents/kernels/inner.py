"""How a function that only kernels call is compiled: to code for them to link and optimise, and no further.

numba optimises every function and makes machine code of it, although a kernel holds a copy of all that it
calls and optimises it once more. That of an inner function is never run, and making it is a good part of
the time that kernels take to compile.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined] # compiled
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import NativeLowering


class _Linked(JITCodeLibrary):
    """Code for others to link."""

    def _optimize_final_module(self) -> None:
        """Leave that to the kernel, which optimises whatever it links."""

    def _finalize_final_module(self) -> None:
        """Leave it at that: the engine, which would compile it, is not given it."""
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=False)
class _Name(LoweringPass):
    """Enter the function where numba looks up what a call leads to, under an object that cannot be called."""

    _name = "inner_name"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Do so, once the intermediate code is there."""
        lowered = state["cr"]
        description = lowered.fndesc
        stands_for = _dynfunc.make_function(
            description.lookup_module(), description.qualname, "", 0, lowered.env, (state.library,)
        )
        state.targetctx.insert_user_function(stands_for, description, [state.library])
        state["cr"] = lowered._replace(cfunc=stands_for)
        return True


class Inner(CompilerBase):
    """numba's pipeline up to optimised intermediate code."""

    def define_pipelines(self) -> list[Any]:
        """Return numba's own, without machine code."""
        state = self.state
        state.flags.no_compile = True
        state.library = _Linked(state.targetctx.codegen(), state.func_id.func_qualname)
        passes = DefaultPassBuilder.define_nopython_pipeline(state)
        passes.add_pass_after(_Name, NativeLowering)
        passes.finalize()
        return [passes]


class Entry(Compiler):
    """numba's own pipeline, for what Python calls.

    numba compiles anew what callers with other flags have called already, and a wrapper for Python is a flag:
    what a kernel and a part call was compiled twice.
    """

    def define_pipelines(self) -> list[Any]:
        """Return numba's own; what the function calls is looked up as a part looks it up."""
        seen = ConfigStack().top()  # a copy: the function's own flags stay
        seen.forceinline, seen.no_cpython_wrapper, seen.no_cfunc_wrapper = False, True, True
        seen.fastmath = seen.fastmath  # said, though it is the default
        pipelines: list[Any] = super().define_pipelines()
        return pipelines
