// PASSES: autodiff
// The composite keeps its name; its result is all that its derivative reads.
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "x"}, %c: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}) {
    %0 = graph.softmax %x {axis = 1 : i64} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %1 = graph.mul %0, %c : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<f64>
    func.return %2 : tensor<f64>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "x"}, %c: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}, tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "gradient.x"}, tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "gradient.c"}) {
    %0 = graph.softmax %x {axis = 1 : i64} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %1 = graph.mul %0, %c : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<f64>
    %3 = graph.reduce %1 "sum" {axes = array<i64: 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %4 = graph.broadcast %3 {axes = array<i64: 0>} : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %5 = graph.sub %c, %4 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %6 = graph.mul %5, %0 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    func.return %2, %6, %0 : tensor<f64>, tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>>
  }
}
