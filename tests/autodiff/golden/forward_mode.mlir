// PASSES: autodiff{wrt=x,mode=jvp}
// Tangents stand behind the ops that they belong to.
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<?x3xf64, #graph.dims<["N", ""]>> {graph.name = "x"}, %w: tensor<3x2xf64> {graph.name = "w"}) -> (tensor<?x2xf64, #graph.dims<["N", ""]>> {graph.name = "loss"}) {
    %0 = graph.contract %x, %w "mk,kn->mn" : tensor<?x3xf64, #graph.dims<["N", ""]>>, tensor<3x2xf64> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    %1 = graph.tanh %0 : tensor<?x2xf64, #graph.dims<["N", ""]>> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    func.return %1 : tensor<?x2xf64, #graph.dims<["N", ""]>>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<?x3xf64, #graph.dims<["N", ""]>> {graph.name = "x"}, %w: tensor<3x2xf64> {graph.name = "w"}, %0: tensor<?x3xf64, #graph.dims<["N", ""]>> {graph.name = "tangent.x"}) -> (tensor<?x2xf64, #graph.dims<["N", ""]>> {graph.name = "loss"}, tensor<?x2xf64, #graph.dims<["N", ""]>> {graph.name = "tangent.loss"}) {
    %1 = graph.contract %x, %w "mk,kn->mn" : tensor<?x3xf64, #graph.dims<["N", ""]>>, tensor<3x2xf64> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    %2 = graph.contract %0, %w "mk,kn->mn" : tensor<?x3xf64, #graph.dims<["N", ""]>>, tensor<3x2xf64> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    %3 = graph.tanh %1 : tensor<?x2xf64, #graph.dims<["N", ""]>> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    %4 = graph.constant "1.0" : tensor<f64>
    %5 = graph.broadcast %4 {axes = array<i64>} : tensor<f64> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    %6 = graph.mul %3, %3 : tensor<?x2xf64, #graph.dims<["N", ""]>>, tensor<?x2xf64, #graph.dims<["N", ""]>> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    %7 = graph.sub %5, %6 : tensor<?x2xf64, #graph.dims<["N", ""]>>, tensor<?x2xf64, #graph.dims<["N", ""]>> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    %8 = graph.mul %2, %7 : tensor<?x2xf64, #graph.dims<["N", ""]>>, tensor<?x2xf64, #graph.dims<["N", ""]>> -> tensor<?x2xf64, #graph.dims<["N", ""]>>
    func.return %3, %8 : tensor<?x2xf64, #graph.dims<["N", ""]>>, tensor<?x2xf64, #graph.dims<["N", ""]>>
  }
}
