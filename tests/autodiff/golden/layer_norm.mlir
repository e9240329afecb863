// PASSES: autodiff
// The statistics are computed once more, as decompose computes them, and merge with its.
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "x"}, %s: tensor<5xf64> {graph.name = "s"}, %b: tensor<5xf64> {graph.name = "b"}, %c: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}) {
    %0 = graph.layer_norm %x, %s, %b {axes = array<i64: 1>, epsilon = 1.000000e-05 : f64} : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<5xf64>, tensor<5xf64> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %1 = graph.mul %0, %c : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<f64>
    func.return %2 : tensor<f64>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {N = [0 : i64]}} {
  func.func @main(%x: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "x"}, %s: tensor<5xf64> {graph.name = "s"}, %b: tensor<5xf64> {graph.name = "b"}, %c: tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "c"}) -> (tensor<f64> {graph.name = "loss"}, tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "gradient.x"}, tensor<5xf64> {graph.name = "gradient.s"}, tensor<5xf64> {graph.name = "gradient.b"}, tensor<?x5xf64, #graph.dims<["N", ""]>> {graph.name = "gradient.c"}) {
    %0 = graph.layer_norm %x, %s, %b {axes = array<i64: 1>, epsilon = 1.000000e-05 : f64} : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<5xf64>, tensor<5xf64> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %1 = graph.mul %0, %c : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<f64>
    %3 = graph.reduce %x "sum" {axes = array<i64: 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %4 = graph.constant "5.0" : tensor<f64>
    %5 = graph.broadcast %4 {axes = array<i64>} : tensor<f64> -> tensor<?xf64, #graph.dims<["N"]>>
    %6 = graph.div %3, %5 : tensor<?xf64, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %7 = graph.broadcast %6 {axes = array<i64: 0>} : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %8 = graph.sub %x, %7 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %9 = graph.mul %8, %8 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %10 = graph.reduce %9 "sum" {axes = array<i64: 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %11 = graph.div %10, %5 : tensor<?xf64, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %12 = graph.constant "1e-05" : tensor<f64>
    %13 = graph.broadcast %12 {axes = array<i64>} : tensor<f64> -> tensor<?xf64, #graph.dims<["N"]>>
    %14 = graph.add %11, %13 : tensor<?xf64, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %15 = graph.rsqrt %14 : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %16 = graph.broadcast %15 {axes = array<i64: 0>} : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %17 = graph.mul %8, %16 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %18 = graph.constant "0.2" : tensor<f64>
    %19 = graph.broadcast %18 {axes = array<i64>} : tensor<f64> -> tensor<?xf64, #graph.dims<["N"]>>
    %20 = graph.broadcast %s {axes = array<i64: 1>} : tensor<5xf64> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %21 = graph.reduce %c "sum" {axes = array<i64: 0>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<5xf64>
    %22 = graph.mul %c, %17 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %23 = graph.reduce %22 "sum" {axes = array<i64: 0>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<5xf64>
    %24 = graph.mul %c, %20 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %25 = graph.mul %24, %16 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %26 = graph.reduce %25 "sum" {axes = array<i64: 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %27 = graph.mul %26, %19 : tensor<?xf64, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %28 = graph.broadcast %27 {axes = array<i64: 0>} : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %29 = graph.sub %25, %28 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %30 = graph.mul %25, %17 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %31 = graph.reduce %30 "sum" {axes = array<i64: 1>} : tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %32 = graph.mul %31, %19 : tensor<?xf64, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %33 = graph.neg %32 : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    %34 = graph.broadcast %33 {axes = array<i64: 0>} : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %35 = graph.mul %17, %34 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    %36 = graph.add %29, %35 : tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<?x5xf64, #graph.dims<["N", ""]>> -> tensor<?x5xf64, #graph.dims<["N", ""]>>
    func.return %2, %36, %23, %21, %0 : tensor<f64>, tensor<?x5xf64, #graph.dims<["N", ""]>>, tensor<5xf64>, tensor<5xf64>, tensor<?x5xf64, #graph.dims<["N", ""]>>
  }
}
