// PASSES: autodiff{wrt=w*;b*}
// Bias gradients are sums over rows, weight gradients products; relu's mask is the only comparison.
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 3 x f64> {graph.name = "x"}, %w1: tensor<3x4xf64> {graph.name = "w1"}, %b1: tensor<4xf64> {graph.name = "b1"}, %w2: tensor<4x2xf64> {graph.name = "w2"}, %b2: tensor<2xf64> {graph.name = "b2"}, %t: tensor<N x 2 x f64> {graph.name = "t"}) -> (tensor<f64> {graph.name = "loss"}) {
    %0 = graph.contract %x, %w1 "mk,kn->mn" : tensor<N x 3 x f64>, tensor<3x4xf64> -> tensor<N x 4 x f64>
    %1 = graph.broadcast %b1 {axes = array<i64: 1>} : tensor<4xf64> -> tensor<N x 4 x f64>
    %2 = graph.add %0, %1 : tensor<N x 4 x f64>
    %3 = graph.relu %2 : tensor<N x 4 x f64>
    %4 = graph.contract %3, %w2 "mk,kn->mn" : tensor<N x 4 x f64>, tensor<4x2xf64> -> tensor<N x 2 x f64>
    %5 = graph.broadcast %b2 {axes = array<i64: 1>} : tensor<2xf64> -> tensor<N x 2 x f64>
    %6 = graph.add %4, %5 : tensor<N x 2 x f64>
    %7 = graph.sub %6, %t : tensor<N x 2 x f64>
    %8 = graph.mul %7, %7 : tensor<N x 2 x f64>
    %9 = graph.reduce %8 "sum" {axes = array<i64: 0, 1>} : tensor<N x 2 x f64> -> tensor<f64>
    func.return %9 : tensor<f64>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 3 x f64> {graph.name = "x"}, %w1: tensor<3x4xf64> {graph.name = "w1"}, %b1: tensor<4xf64> {graph.name = "b1"}, %w2: tensor<4x2xf64> {graph.name = "w2"}, %b2: tensor<2xf64> {graph.name = "b2"}, %t: tensor<N x 2 x f64> {graph.name = "t"}) -> (tensor<f64> {graph.name = "loss"}, tensor<3x4xf64> {graph.name = "gradient.w1"}, tensor<4xf64> {graph.name = "gradient.b1"}, tensor<4x2xf64> {graph.name = "gradient.w2"}, tensor<2xf64> {graph.name = "gradient.b2"}) {
    %0 = graph.contract %x, %w1 "mk,kn->mn" : tensor<N x 3 x f64>, tensor<3x4xf64> -> tensor<N x 4 x f64>
    %1 = graph.broadcast %b1 {axes = array<i64: 1>} : tensor<4xf64> -> tensor<N x 4 x f64>
    %2 = graph.add %0, %1 : tensor<N x 4 x f64>
    %3 = graph.relu %2 : tensor<N x 4 x f64>
    %4 = graph.contract %3, %w2 "mk,kn->mn" : tensor<N x 4 x f64>, tensor<4x2xf64> -> tensor<N x 2 x f64>
    %5 = graph.broadcast %b2 {axes = array<i64: 1>} : tensor<2xf64> -> tensor<N x 2 x f64>
    %6 = graph.add %4, %5 : tensor<N x 2 x f64>
    %7 = graph.sub %6, %t : tensor<N x 2 x f64>
    %8 = graph.mul %7, %7 : tensor<N x 2 x f64>
    %9 = graph.reduce %8 "sum" {axes = array<i64: 0, 1>} : tensor<N x 2 x f64> -> tensor<f64>
    %10 = graph.add %7, %7 : tensor<N x 2 x f64>
    %11 = graph.reduce %10 "sum" {axes = array<i64: 0>} : tensor<N x 2 x f64> -> tensor<2xf64>
    %12 = graph.contract %10, %w2 "mn,kn->mk" : tensor<N x 2 x f64>, tensor<4x2xf64> -> tensor<N x 4 x f64>
    %13 = graph.contract %3, %10 "mk,mn->kn" : tensor<N x 4 x f64>, tensor<N x 2 x f64> -> tensor<4x2xf64>
    %14 = graph.constant "0.0" : tensor<f64>
    %15 = graph.broadcast %14 {axes = array<i64>} : tensor<f64> -> tensor<N x 4 x f64>
    %16 = graph.le %3, %15 : tensor<N x 4 x f64>, tensor<N x 4 x f64> -> tensor<N x 4 x i1>
    %17 = graph.select %16, %15, %12 : tensor<N x 4 x i1>, tensor<N x 4 x f64>, tensor<N x 4 x f64> -> tensor<N x 4 x f64>
    %18 = graph.reduce %17 "sum" {axes = array<i64: 0>} : tensor<N x 4 x f64> -> tensor<4xf64>
    %19 = graph.contract %x, %17 "mk,mn->kn" : tensor<N x 3 x f64>, tensor<N x 4 x f64> -> tensor<3x4xf64>
    func.return %9, %19, %18, %13, %11 : tensor<f64>, tensor<3x4xf64>, tensor<4xf64>, tensor<4x2xf64>, tensor<2xf64>
  }
}
