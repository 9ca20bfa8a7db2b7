"""How a function that only kernels call is compiled: to optimised code for them to link, and no further.

numba makes machine code of every function it compiles, although a kernel holds a copy of all that it calls.
That of an inner function is never run, and making it is a tenth of the time that kernels take to compile.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined] # compiled
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.typed_passes import NativeLowering


class _Linked(JITCodeLibrary):
    """Optimised code for others to link."""

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
