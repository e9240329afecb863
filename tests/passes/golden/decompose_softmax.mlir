// PASSES: decompose
// A composite becomes its primitives.
func.func @main(%x: tensor<?x5xf32, #graph.dims<["N", ""]>>) -> tensor<?x5xf32, #graph.dims<["N", ""]>> {
  %y = graph.softmax %x {axis = 1 : i64} : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
  return %y : tensor<?x5xf32, #graph.dims<["N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x5xf32, #graph.dims<["N", ""]>>) -> tensor<?x5xf32, #graph.dims<["N", ""]>> {
    %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %1 = graph.broadcast %0 {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %2 = graph.sub %x, %1 : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %3 = graph.exp %2 : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %4 = graph.reduce %3 "sum" {axes = array<i64: 1>} : tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %5 = graph.reciprocal %4 : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %6 = graph.broadcast %5 {axes = array<i64: 0>} : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    %y = graph.mul %3, %6 : tensor<?x5xf32, #graph.dims<["N", ""]>>, tensor<?x5xf32, #graph.dims<["N", ""]>> -> tensor<?x5xf32, #graph.dims<["N", ""]>>
    func.return %y : tensor<?x5xf32, #graph.dims<["N", ""]>>
  }
}
