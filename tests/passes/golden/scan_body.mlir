// PASSES: simplify,dce
// Rules apply inside the bodies of loops.
func.func @main(%h: tensor<2x3xf32>, %xs: tensor<5x2x3xf32>) -> (tensor<2x3xf32>, tensor<5x2x3xf32>) {
  %0, %1 = "graph.scan"(%h, %xs) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<5>, reverse = false}> ({
  ^bb0(%2: tensor<2x3xf32>, %3: tensor<2x3xf32>):
    %4 = graph.add %2, %3 : tensor<2x3xf32>
    %5 = graph.tanh %4 : tensor<2x3xf32>
    %6 = graph.constant "1.0" : tensor<f32>
    %7 = graph.broadcast %6 {axes = array<i64>} : tensor<f32> -> tensor<2x3xf32>
    %8 = graph.mul %5, %7 : tensor<2x3xf32>
    %9 = graph.transpose %8 {permutation = array<i64: 1, 0>} : tensor<2x3xf32> -> tensor<3x2xf32>
    %10 = graph.transpose %9 {permutation = array<i64: 1, 0>} : tensor<3x2xf32> -> tensor<2x3xf32>
    graph.yield %8, %10 : tensor<2x3xf32>, tensor<2x3xf32>
  }) : (tensor<2x3xf32>, tensor<5x2x3xf32>) -> (tensor<2x3xf32>, tensor<5x2x3xf32>)
  func.return %0, %1 : tensor<2x3xf32>, tensor<5x2x3xf32>
}
// -----
builtin.module {
  func.func @main(%h: tensor<2x3xf32>, %xs: tensor<5x2x3xf32>) -> (tensor<2x3xf32>, tensor<5x2x3xf32>) {
    %0, %1 = "graph.scan"(%h, %xs) <{carried = 1 : i64, scanned = 1 : i64, length = #graph.dims<5>, reverse = false}> ({
    ^bb0(%2: tensor<2x3xf32>, %3: tensor<2x3xf32>):
      %4 = graph.add %2, %3 : tensor<2x3xf32>
      %5 = graph.tanh %4 : tensor<2x3xf32>
      graph.yield %5, %5 : tensor<2x3xf32>, tensor<2x3xf32>
    }) : (tensor<2x3xf32>, tensor<5x2x3xf32>) -> (tensor<2x3xf32>, tensor<5x2x3xf32>)
    func.return %0, %1 : tensor<2x3xf32>, tensor<5x2x3xf32>
  }
}
