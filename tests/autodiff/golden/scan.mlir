// PASSES: autodiff{wrt=w;h}
// The forward loop stacks what the loop backwards reads; the weight's gradient is one product behind it.
builtin.module @main attributes {graph.symbols = {T = [0 : i64]}} {
  func.func @main(%x: tensor<T x 2 x 3 x f64> {graph.name = "x"}, %w: tensor<3x3xf64> {graph.name = "w"}, %h: tensor<2x3xf64> {graph.name = "h"}) -> (tensor<f64> {graph.name = "loss"}) {
    %0 = "graph.scan"(%h, %x, %w) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<T>, reverse = false}> ({
    ^bb0(%1: tensor<2x3xf64>, %2: tensor<2x3xf64>, %3: tensor<3x3xf64>):
      %4 = graph.contract %1, %3 "bi,ij->bj" : tensor<2x3xf64>, tensor<3x3xf64> -> tensor<2x3xf64>
      %5 = graph.add %4, %2 : tensor<2x3xf64>
      %6 = graph.tanh %5 : tensor<2x3xf64>
      graph.yield %6 : tensor<2x3xf64>
    }) : (tensor<2x3xf64>, tensor<T x 2 x 3 x f64>, tensor<3x3xf64>) -> tensor<2x3xf64>
    %1 = graph.mul %0, %0 : tensor<2x3xf64>
    %2 = graph.reduce %1 "sum" {axes = array<i64: 0, 1>} : tensor<2x3xf64> -> tensor<f64>
    func.return %2 : tensor<f64>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {T = [0 : i64]}} {
  func.func @main(%x: tensor<T x 2 x 3 x f64> {graph.name = "x"}, %w: tensor<3x3xf64> {graph.name = "w"}, %h: tensor<2x3xf64> {graph.name = "h"}) -> (tensor<f64> {graph.name = "loss"}, tensor<3x3xf64> {graph.name = "gradient.w"}, tensor<2x3xf64> {graph.name = "gradient.h"}) {
    %0, %1, %2 = "graph.scan"(%h, %x, %w) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<T>, reverse = false}> ({
    ^bb0(%3: tensor<2x3xf64>, %4: tensor<2x3xf64>, %5: tensor<3x3xf64>):
      %6 = graph.contract %3, %5 "bi,ij->bj" : tensor<2x3xf64>, tensor<3x3xf64> -> tensor<2x3xf64>
      %7 = graph.add %6, %4 : tensor<2x3xf64>
      %8 = graph.tanh %7 : tensor<2x3xf64>
      graph.yield %8, %8, %3 : tensor<2x3xf64>, tensor<2x3xf64>, tensor<2x3xf64>
    }) : (tensor<2x3xf64>, tensor<T x 2 x 3 x f64>, tensor<3x3xf64>) -> (tensor<2x3xf64>, tensor<T x 2 x 3 x f64>, tensor<T x 2 x 3 x f64>)
    %3 = graph.mul %0, %0 : tensor<2x3xf64>
    %4 = graph.reduce %3 "sum" {axes = array<i64: 0, 1>} : tensor<2x3xf64> -> tensor<f64>
    %5 = graph.add %0, %0 : tensor<2x3xf64>
    %6, %7 = "graph.scan"(%5, %1, %2, %w) <{carried = 1 : i64, scanned = 2 : i64, length = #graph.dims<T>, reverse = true}> ({
    ^bb0(%8: tensor<2x3xf64>, %9: tensor<2x3xf64>, %10: tensor<2x3xf64>, %11: tensor<3x3xf64>):
      %12 = graph.constant "1.0" : tensor<f64>
      %13 = graph.broadcast %12 {axes = array<i64>} : tensor<f64> -> tensor<2x3xf64>
      %14 = graph.mul %9, %9 : tensor<2x3xf64>
      %15 = graph.sub %13, %14 : tensor<2x3xf64>
      %16 = graph.mul %8, %15 : tensor<2x3xf64>
      %17 = graph.contract %16, %11 "bj,ij->bi" : tensor<2x3xf64>, tensor<3x3xf64> -> tensor<2x3xf64>
      graph.yield %17, %16 : tensor<2x3xf64>, tensor<2x3xf64>
    }) : (tensor<2x3xf64>, tensor<T x 2 x 3 x f64>, tensor<T x 2 x 3 x f64>, tensor<3x3xf64>) -> (tensor<2x3xf64>, tensor<T x 2 x 3 x f64>)
    %8 = graph.contract %2, %7 "abi,abj->ij" : tensor<T x 2 x 3 x f64>, tensor<T x 2 x 3 x f64> -> tensor<3x3xf64>
    func.return %4, %8, %6 : tensor<f64>, tensor<3x3xf64>, tensor<2x3xf64>
  }
}
