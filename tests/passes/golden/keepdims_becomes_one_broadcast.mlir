// PASSES: simplify
// A reduction that keeps its axis, and is repeated along it, is one broadcast.
func.func @main(%x: tensor<?x5xf32, #graph.dims<["N", ""]>>) -> (tensor<?x5xf32, #graph.dims<["N", ""]>>) {
  %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %1 = graph.reshape %0 : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x1xf32, #graph.dims<["N", ""]>>
  %2 = graph.exp %1 : tensor<?x1xf32, #graph.dims<["N", ""]>> -> tensor<?x1xf32, #graph.dims<["N", ""]>>
  %3 = graph.reshape %2 : tensor<?x1xf32, #graph.dims<["N", ""]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %4 = graph.broadcast %3 {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  %5 = graph.sub %x, %4 : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  func.return %5 : tensor<?x5xf32, #graph.dims<["N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x5xf32, #graph.dims<["N", ""]>>) -> tensor<?x5xf32, #graph.dims<["N", ""]>> {
    %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %1 = graph.exp %0 : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %2 = graph.broadcast %1 {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %3 = graph.sub %x, %2 : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    func.return %3 : tensor<?x5xf32, #graph.dims<["N", ""]>>
  }
}
