// PASSES: simplify
// Key heads repeated for groups of query heads are not repeated.
func.func @main(%q: tensor<?x6x?x4xf32, #graph.dims<["N", "", "S", ""]>>, %k: tensor<?x2x?x4xf32, #graph.dims<["N", "", "T", ""]>>) -> (tensor<?x6x?x?xf32, #graph.dims<["N", "", "S", "T"]>>) {
  %0 = graph.broadcast %k {axes = array<i64: 0, 1, 3, 4>} : tensor<?x2x?x4xf32, #graph.dims<["N", "", "T", ""]>> -> tensor<?x2x3x?x4xf32, #graph.dims<["N", "", "", "T", ""]>>
  %1 = graph.reshape %0 : tensor<?x2x3x?x4xf32, #graph.dims<["N", "", "", "T", ""]>> -> tensor<?x6x?x4xf32, #graph.dims<["N", "", "T", ""]>>
  %2 = graph.contract %q, %1 "bhsd,bhtd->bhst" : tensor<?x6x?x4xf32, #graph.dims<["N", "", "S", ""]>>, tensor<?x6x?x4xf32, #graph.dims<["N", "", "T", ""]>> -> tensor<?x6x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
  func.return %2 : tensor<?x6x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
}
// -----
builtin.module {
  func.func @main(%q: tensor<?x6x?x4xf32, #graph.dims<["N", "", "S", ""]>>, %k: tensor<?x2x?x4xf32, #graph.dims<["N", "", "T", ""]>>) -> tensor<?x6x?x?xf32, #graph.dims<["N", "", "S", "T"]>> {
    %0 = graph.reshape %q : tensor<?x6x?x4xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x3x?x4xf32, #graph.dims<["N", "", "", "S", ""]>>
    %1 = graph.contract %0, %k "bacsd,batd->bacst" : tensor<?x2x3x?x4xf32, #graph.dims<["N", "", "", "S", ""]>>, tensor<?x2x?x4xf32, #graph.dims<["N", "", "T", ""]>> -> tensor<?x2x3x?x?xf32, #graph.dims<["N", "", "", "S", "T"]>>
    %2 = graph.reshape %1 : tensor<?x2x3x?x?xf32, #graph.dims<["N", "", "", "S", "T"]>> -> tensor<?x6x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
    func.return %2 : tensor<?x6x?x?xf32, #graph.dims<["N", "", "S", "T"]>>
  }
}
