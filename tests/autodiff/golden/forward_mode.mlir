// PASSES: autodiff{wrt=x,mode=jvp}
// Tangents stand behind the ops that they belong to.
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 3 x f64> {graph.name = "x"}, %w: tensor<3x2xf64> {graph.name = "w"}) -> (tensor<N x 2 x f64> {graph.name = "loss"}) {
    %0 = graph.contract %x, %w "mk,kn->mn" : tensor<N x 3 x f64>, tensor<3x2xf64> -> tensor<N x 2 x f64>
    %1 = graph.tanh %0 : tensor<N x 2 x f64>
    func.return %1 : tensor<N x 2 x f64>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 3 x f64> {graph.name = "x"}, %w: tensor<3x2xf64> {graph.name = "w"}, %0: tensor<N x 3 x f64> {graph.name = "tangent.x"}) -> (tensor<N x 2 x f64> {graph.name = "loss"}, tensor<N x 2 x f64> {graph.name = "tangent.loss"}) {
    %1 = graph.contract %x, %w "mk,kn->mn" : tensor<N x 3 x f64>, tensor<3x2xf64> -> tensor<N x 2 x f64>
    %2 = graph.contract %0, %w "mk,kn->mn" : tensor<N x 3 x f64>, tensor<3x2xf64> -> tensor<N x 2 x f64>
    %3 = graph.tanh %1 : tensor<N x 2 x f64>
    %4 = graph.constant "1.0" : tensor<f64>
    %5 = graph.broadcast %4 {axes = array<i64>} : tensor<f64> -> tensor<N x 2 x f64>
    %6 = graph.mul %3, %3 : tensor<N x 2 x f64>
    %7 = graph.sub %5, %6 : tensor<N x 2 x f64>
    %8 = graph.mul %2, %7 : tensor<N x 2 x f64>
    func.return %3, %8 : tensor<N x 2 x f64>, tensor<N x 2 x f64>
  }
}
