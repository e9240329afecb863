// PASSES: fuse
// Symbolic rows as fuse leaves it: rows that are known when it runs, the square of each element.
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func @main(%x: tensor<?x8xf32, #graph.dims<["M", ""]>> {graph.name = "x"}) -> (tensor<?x8xf32, #graph.dims<["M", ""]>> {graph.name = "y"}) {
    %0 = graph.mul %x, %x : tensor<?x8xf32, #graph.dims<["M", ""]>>, tensor<?x8xf32, #graph.dims<["M", ""]>> -> tensor<?x8xf32, #graph.dims<["M", ""]>>
    func.return %0 : tensor<?x8xf32, #graph.dims<["M", ""]>>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func @main(%x: tensor<?x8xf32, #graph.dims<["M", ""]>> {graph.name = "x"}) -> (tensor<?x8xf32, #graph.dims<["M", ""]>> {graph.name = "y"}) {
    %0 = "graph.group"(%x) <{kind = "elementwise"}> ({
    ^bb0(%x_1: tensor<?x8xf32, #graph.dims<["M", ""]>>):
      %1 = graph.mul %x_1, %x_1 : tensor<?x8xf32, #graph.dims<["M", ""]>>, tensor<?x8xf32, #graph.dims<["M", ""]>> -> tensor<?x8xf32, #graph.dims<["M", ""]>>
      graph.yield %1 : tensor<?x8xf32, #graph.dims<["M", ""]>>
    }) : (tensor<?x8xf32, #graph.dims<["M", ""]>>) -> tensor<?x8xf32, #graph.dims<["M", ""]>>
    func.return %0 : tensor<?x8xf32, #graph.dims<["M", ""]>>
  }
}
