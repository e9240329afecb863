// PASSES: pack-loop-operands
// The matrix that every step multiplies the state by lies in panels of 32 columns in front of the loop; what follows the product takes their shape.
builtin.module @main attributes {graph.symbols = {T = [0 : i64], N = [0 : i64]}} {
  func.func @main(%x: tensor<T x N x 64 x f32> {graph.name = "x"}, %h: tensor<N x 64 x f32> {graph.name = "h"}, %w: tensor<64x64xf32> {graph.name = "w"}) -> (tensor<T x N x 64 x f32> {graph.name = "y"}) {
    %0, %1 = "graph.scan"(%h, %x, %w) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<T>, reverse = false}> ({
    ^bb0(%2: tensor<N x 64 x f32>, %3: tensor<N x 64 x f32>, %4: tensor<64x64xf32>):
      %5 = graph.contract %2, %4 "bh,gh->bg" : tensor<N x 64 x f32>, tensor<64x64xf32> -> tensor<N x 64 x f32>
      %6 = graph.add %5, %3 : tensor<N x 64 x f32>
      %7 = graph.tanh %6 : tensor<N x 64 x f32>
      graph.yield %7, %7 : tensor<N x 64 x f32>, tensor<N x 64 x f32>
    }) : (tensor<N x 64 x f32>, tensor<T x N x 64 x f32>, tensor<64x64xf32>) -> (tensor<N x 64 x f32>, tensor<T x N x 64 x f32>)
    func.return %1 : tensor<T x N x 64 x f32>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {T = [0 : i64], N = [0 : i64]}} {
  func.func @main(%x: tensor<T x N x 64 x f32> {graph.name = "x"}, %h: tensor<N x 64 x f32> {graph.name = "h"}, %w: tensor<64x64xf32> {graph.name = "w"}) -> (tensor<T x N x 64 x f32> {graph.name = "y"}) {
    %0 = graph.reshape %w : tensor<64x64xf32> -> tensor<2x32x64xf32>
    %1 = graph.transpose %0 {permutation = array<i64: 0, 2, 1>} : tensor<2x32x64xf32> -> tensor<2x64x32xf32>
    %2, %3 = "graph.scan"(%h, %x, %1) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<T>, reverse = false}> ({
    ^bb0(%4: tensor<N x 64 x f32>, %5: tensor<N x 64 x f32>, %6: tensor<2x64x32xf32>):
      %7 = graph.contract %4, %6 "bh,ahg->bag" : tensor<N x 64 x f32>, tensor<2x64x32xf32> -> tensor<N x 2 x 32 x f32>
      %8 = graph.reshape %5 : tensor<N x 64 x f32> -> tensor<N x 2 x 32 x f32>
      %9 = graph.add %7, %8 : tensor<N x 2 x 32 x f32>
      %10 = graph.tanh %9 : tensor<N x 2 x 32 x f32>
      %11 = graph.reshape %10 : tensor<N x 2 x 32 x f32> -> tensor<N x 64 x f32>
      graph.yield %11, %11 : tensor<N x 64 x f32>, tensor<N x 64 x f32>
    }) : (tensor<N x 64 x f32>, tensor<T x N x 64 x f32>, tensor<2x64x32xf32>) -> (tensor<N x 64 x f32>, tensor<T x N x 64 x f32>)
    func.return %3 : tensor<T x N x 64 x f32>
  }
}
