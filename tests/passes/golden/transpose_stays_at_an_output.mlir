// PASSES: move-transposes
// An output has its axes as they are.
func.func @main(%x: tensor<N x 3 x 4 x f32>) -> (tensor<4 x N x 3 x f32>) {
  %0 = graph.transpose %x {permutation = array<i64: 2, 0, 1>} : tensor<N x 3 x 4 x f32> -> tensor<4 x N x 3 x f32>
  %1 = graph.exp %0 : tensor<4 x N x 3 x f32>
  func.return %1 : tensor<4 x N x 3 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x 4 x f32>) -> tensor<4 x N x 3 x f32> {
    %0 = graph.exp %x : tensor<N x 3 x 4 x f32>
    %1 = graph.transpose %0 {permutation = array<i64: 2, 0, 1>} : tensor<N x 3 x 4 x f32> -> tensor<4 x N x 3 x f32>
    func.return %1 : tensor<4 x N x 3 x f32>
  }
}
