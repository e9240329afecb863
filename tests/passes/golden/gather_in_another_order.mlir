// PASSES: simplify
// A gather of rows takes over the transpose behind it; one whose elements would not stay together leaves it.
func.func @main(%x: tensor<7x4xf32>, %i: tensor<N x 5 x 1 x i64>) -> (tensor<5 x N x 4 x f32>, tensor<5 x 4 x N x f32>) {
  %0 = graph.gather %x, %i {loops = array<i64: 0, 1>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<N x 5 x 1 x i64> -> tensor<N x 5 x 4 x f32>
  %1 = graph.transpose %0 {permutation = array<i64: 1, 0, 2>} : tensor<N x 5 x 4 x f32> -> tensor<5 x N x 4 x f32>
  %2 = graph.gather %x, %i {loops = array<i64: 0, 1>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<N x 5 x 1 x i64> -> tensor<N x 5 x 4 x f32>
  %3 = graph.transpose %2 {permutation = array<i64: 1, 2, 0>} : tensor<N x 5 x 4 x f32> -> tensor<5 x 4 x N x f32>
  func.return %1, %3 : tensor<5 x N x 4 x f32>, tensor<5 x 4 x N x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<7x4xf32>, %i: tensor<N x 5 x 1 x i64>) -> (tensor<5 x N x 4 x f32>, tensor<5 x 4 x N x f32>) {
    %0 = graph.gather %x, %i {loops = array<i64: 1, 0>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<N x 5 x 1 x i64> -> tensor<5 x N x 4 x f32>
    %1 = graph.gather %x, %i {loops = array<i64: 0, 1>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<N x 5 x 1 x i64> -> tensor<N x 5 x 4 x f32>
    %2 = graph.transpose %1 {permutation = array<i64: 1, 2, 0>} : tensor<N x 5 x 4 x f32> -> tensor<5 x 4 x N x f32>
    func.return %0, %2 : tensor<5 x N x 4 x f32>, tensor<5 x 4 x N x f32>
  }
}
