"""Parts of small programs: arguments of @main, kernels written by hand in LLVM IR."""


def arg(name: str, role: str, dims: list[str], dtype: str = "f32") -> str:
    """One argument of @main."""
    element = {"f32": "f32", "i64": "i64", "bool": "i1"}[dtype]
    shape = "".join(("?" if not d.isdecimal() else d) + "x" for d in dims)
    texts = ", ".join(f'"{d}"' for d in dims)
    attrs = f'kernel.name = "{name}", kernel.role = "{role}", kernel.dtype = "{dtype}", kernel.dims = #graph.dims<[{texts}]>'
    return f"%{name}: memref<{shape}{element}> {{{attrs}}}"


def elementwise(name: str, instruction: str) -> tuple[str, str]:
    """A kernel z = f(x, y) on `n` elements, 16 to a tile: (its function, its machine code)."""
    buffers = ", ".join(f'%{b}: memref<?xf32> {{kernel.name = "{b}"}}' for b in "xyz")
    head = f"""
func.func @{name}({buffers}, %n: index {{kernel.name = "n", kernel.role = "extent"}}, %begin: index {{kernel.role = "begin"}},
    %end: index {{kernel.role = "end"}}) attributes {{kernel.tiles = "(n + 15)//16"}} {{
  func.return
}}"""
    code = f"""
define void @{name}(ptr %x, ptr %y, ptr %z, i64 %n, i64 %begin, i64 %end) {{
entry:
  %first = mul i64 %begin, 16
  %past = mul i64 %end, 16
  %short = icmp slt i64 %n, %past
  %stop = select i1 %short, i64 %n, i64 %past
  br label %test
test:
  %i = phi i64 [ %first, %entry ], [ %next, %work ]
  %more = icmp slt i64 %i, %stop
  br i1 %more, label %work, label %end.
work:
  %px = getelementptr float, ptr %x, i64 %i
  %py = getelementptr float, ptr %y, i64 %i
  %pz = getelementptr float, ptr %z, i64 %i
  %a = load float, ptr %px
  %b = load float, ptr %py
  %c = {instruction} float %a, %b
  store float %c, ptr %pz
  %next = add i64 %i, 1
  br label %test
end.:
  ret void
}}
"""
    return head, code
