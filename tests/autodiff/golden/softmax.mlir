// PASSES: autodiff
// The composite keeps its name; its result is all that its derivative reads.
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 5 x f64> {graph.name = "x"}, %c: tensor<N x 5 x f64> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}) {
    %0 = graph.softmax %x {axis = 1 : i64} : tensor<N x 5 x f64> -> tensor<N x 5 x f64>
    %1 = graph.mul %0, %c : tensor<N x 5 x f64>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<N x 5 x f64> -> tensor<f64>
    func.return %2 : tensor<f64>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 5 x f64> {graph.name = "x"}, %c: tensor<N x 5 x f64> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}, tensor<N x 5 x f64> {graph.name = "gradient.x"}, tensor<N x 5 x f64> {graph.name = "gradient.c"}) {
    %0 = graph.softmax %x {axis = 1 : i64} : tensor<N x 5 x f64> -> tensor<N x 5 x f64>
    %1 = graph.mul %0, %c : tensor<N x 5 x f64>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<N x 5 x f64> -> tensor<f64>
    %3 = graph.reduce %1 "sum" {axes = array<i64: 1>} : tensor<N x 5 x f64> -> tensor<N x f64>
    %4 = graph.broadcast %3 {axes = array<i64: 0>} : tensor<N x f64> -> tensor<N x 5 x f64>
    %5 = graph.sub %c, %4 : tensor<N x 5 x f64>
    %6 = graph.mul %5, %0 : tensor<N x 5 x f64>
    func.return %2, %6, %0 : tensor<f64>, tensor<N x 5 x f64>, tensor<N x 5 x f64>
  }
}
