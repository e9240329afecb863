// PASSES: simplify
// Permutations merge; two that undo each other vanish; moving a unit axis is a reshape.
func.func @main(%x: tensor<2 x N x 4 x f32>, %u: tensor<1x5x3xf32>) -> (tensor<2 x N x 4 x f32>, tensor<2 x 4 x N x f32>, tensor<5x1x3xf32>) {
  %0 = graph.transpose %x {permutation = array<i64: 2, 0, 1>} : tensor<2 x N x 4 x f32> -> tensor<4 x 2 x N x f32>
  %1 = graph.transpose %0 {permutation = array<i64: 1, 2, 0>} : tensor<4 x 2 x N x f32> -> tensor<2 x N x 4 x f32>
  %2 = graph.transpose %0 {permutation = array<i64: 1, 0, 2>} : tensor<4 x 2 x N x f32> -> tensor<2 x 4 x N x f32>
  %3 = graph.transpose %u {permutation = array<i64: 1, 0, 2>} : tensor<1x5x3xf32> -> tensor<5x1x3xf32>
  func.return %1, %2, %3 : tensor<2 x N x 4 x f32>, tensor<2 x 4 x N x f32>, tensor<5x1x3xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<2 x N x 4 x f32>, %u: tensor<1x5x3xf32>) -> (tensor<2 x N x 4 x f32>, tensor<2 x 4 x N x f32>, tensor<5x1x3xf32>) {
    %0 = graph.transpose %x {permutation = array<i64: 0, 2, 1>} : tensor<2 x N x 4 x f32> -> tensor<2 x 4 x N x f32>
    %1 = graph.reshape %u : tensor<1x5x3xf32> -> tensor<5x1x3xf32>
    func.return %x, %0, %1 : tensor<2 x N x 4 x f32>, tensor<2 x 4 x N x f32>, tensor<5x1x3xf32>
  }
}
