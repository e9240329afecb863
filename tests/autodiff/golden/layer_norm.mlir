// PASSES: autodiff
// The statistics are computed once more, as decompose computes them, and merge with its.
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 5 x f64> {graph.name = "x"}, %s: tensor<5xf64> {graph.name = "s"}, %b: tensor<5xf64> {graph.name = "b"}, %c: tensor<N x 5 x f64> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}) {
    %0 = graph.layer_norm %x, %s, %b {axes = array<i64: 1>, epsilon = 1.000000e-05 : f64} : tensor<N x 5 x f64>, tensor<5xf64>, tensor<5xf64> -> tensor<N x 5 x f64>
    %1 = graph.mul %0, %c : tensor<N x 5 x f64>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<N x 5 x f64> -> tensor<f64>
    func.return %2 : tensor<f64>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<N x 5 x f64> {graph.name = "x"}, %s: tensor<5xf64> {graph.name = "s"}, %b: tensor<5xf64> {graph.name = "b"}, %c: tensor<N x 5 x f64> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}, tensor<N x 5 x f64> {graph.name = "gradient.x"}, tensor<5xf64> {graph.name = "gradient.s"}, tensor<5xf64> {graph.name = "gradient.b"}, tensor<N x 5 x f64> {graph.name = "gradient.c"}) {
    %0 = graph.layer_norm %x, %s, %b {axes = array<i64: 1>, epsilon = 1.000000e-05 : f64} : tensor<N x 5 x f64>, tensor<5xf64>, tensor<5xf64> -> tensor<N x 5 x f64>
    %1 = graph.mul %0, %c : tensor<N x 5 x f64>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<N x 5 x f64> -> tensor<f64>
    %3 = graph.reduce %x "sum" {axes = array<i64: 1>} : tensor<N x 5 x f64> -> tensor<N x f64>
    %4 = graph.constant "5.0" : tensor<f64>
    %5 = graph.broadcast %4 {axes = array<i64>} : tensor<f64> -> tensor<N x f64>
    %6 = graph.div %3, %5 : tensor<N x f64>
    %7 = graph.broadcast %6 {axes = array<i64: 0>} : tensor<N x f64> -> tensor<N x 5 x f64>
    %8 = graph.sub %x, %7 : tensor<N x 5 x f64>
    %9 = graph.mul %8, %8 : tensor<N x 5 x f64>
    %10 = graph.reduce %9 "sum" {axes = array<i64: 1>} : tensor<N x 5 x f64> -> tensor<N x f64>
    %11 = graph.div %10, %5 : tensor<N x f64>
    %12 = graph.constant "1e-05" : tensor<f64>
    %13 = graph.broadcast %12 {axes = array<i64>} : tensor<f64> -> tensor<N x f64>
    %14 = graph.add %11, %13 : tensor<N x f64>
    %15 = graph.rsqrt %14 : tensor<N x f64>
    %16 = graph.broadcast %15 {axes = array<i64: 0>} : tensor<N x f64> -> tensor<N x 5 x f64>
    %17 = graph.mul %8, %16 : tensor<N x 5 x f64>
    %18 = graph.constant "0.2" : tensor<f64>
    %19 = graph.broadcast %18 {axes = array<i64>} : tensor<f64> -> tensor<N x f64>
    %20 = graph.broadcast %s {axes = array<i64: 1>} : tensor<5xf64> -> tensor<N x 5 x f64>
    %21 = graph.reduce %c "sum" {axes = array<i64: 0>} : tensor<N x 5 x f64> -> tensor<5xf64>
    %22 = graph.mul %c, %17 : tensor<N x 5 x f64>
    %23 = graph.reduce %22 "sum" {axes = array<i64: 0>} : tensor<N x 5 x f64> -> tensor<5xf64>
    %24 = graph.mul %c, %20 : tensor<N x 5 x f64>
    %25 = graph.mul %24, %16 : tensor<N x 5 x f64>
    %26 = graph.reduce %25 "sum" {axes = array<i64: 1>} : tensor<N x 5 x f64> -> tensor<N x f64>
    %27 = graph.mul %26, %19 : tensor<N x f64>
    %28 = graph.broadcast %27 {axes = array<i64: 0>} : tensor<N x f64> -> tensor<N x 5 x f64>
    %29 = graph.sub %25, %28 : tensor<N x 5 x f64>
    %30 = graph.mul %25, %17 : tensor<N x 5 x f64>
    %31 = graph.reduce %30 "sum" {axes = array<i64: 1>} : tensor<N x 5 x f64> -> tensor<N x f64>
    %32 = graph.mul %31, %19 : tensor<N x f64>
    %33 = graph.neg %32 : tensor<N x f64>
    %34 = graph.broadcast %33 {axes = array<i64: 0>} : tensor<N x f64> -> tensor<N x 5 x f64>
    %35 = graph.mul %17, %34 : tensor<N x 5 x f64>
    %36 = graph.add %29, %35 : tensor<N x 5 x f64>
    func.return %2, %36, %23, %21, %0 : tensor<f64>, tensor<N x 5 x f64>, tensor<5xf64>, tensor<5xf64>, tensor<N x 5 x f64>
  }
}
