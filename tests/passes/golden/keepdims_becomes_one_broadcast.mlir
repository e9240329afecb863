// PASSES: simplify
// A reduction that keeps its axis, and is repeated along it, is one broadcast.
func.func @main(%x: tensor<N x 5 x f32>) -> (tensor<N x 5 x f32>) {
  %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<N x 5 x f32> -> tensor<N x f32>
  %1 = graph.reshape %0 : tensor<N x f32> -> tensor<N x 1 x f32>
  %2 = graph.exp %1 : tensor<N x 1 x f32>
  %3 = graph.reshape %2 : tensor<N x 1 x f32> -> tensor<N x f32>
  %4 = graph.broadcast %3 {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 5 x f32>
  %5 = graph.sub %x, %4 : tensor<N x 5 x f32>
  func.return %5 : tensor<N x 5 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 5 x f32>) -> tensor<N x 5 x f32> {
    %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<N x 5 x f32> -> tensor<N x f32>
    %1 = graph.exp %0 : tensor<N x f32>
    %2 = graph.broadcast %1 {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 5 x f32>
    %3 = graph.sub %x, %2 : tensor<N x 5 x f32>
    func.return %3 : tensor<N x 5 x f32>
  }
}
