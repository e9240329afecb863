// PASSES: simplify
// What is repeated is computed once.
func.func @main(%x: tensor<N x f32>) -> (tensor<N x 4 x 6 x f32>) {
  %0 = graph.broadcast %x {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 4 x 6 x f32>
  %1 = graph.weight @w : tensor<4xf32>
  %2 = graph.broadcast %1 {axes = array<i64: 1>} : tensor<4xf32> -> tensor<N x 4 x 6 x f32>
  %3 = graph.constant "2.0" : tensor<f32>
  %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<N x 4 x 6 x f32>
  %5 = graph.mul %2, %4 : tensor<N x 4 x 6 x f32>
  %6 = graph.add %0, %5 : tensor<N x 4 x 6 x f32>
  %7 = graph.tanh %6 : tensor<N x 4 x 6 x f32>
  func.return %7 : tensor<N x 4 x 6 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x f32>) -> tensor<N x 4 x 6 x f32> {
    %0 = graph.weight @w : tensor<4xf32>
    %1 = graph.constant "2.0" : tensor<f32>
    %2 = graph.broadcast %1 {axes = array<i64>} : tensor<f32> -> tensor<4xf32>
    %3 = graph.mul %0, %2 : tensor<4xf32>
    %4 = graph.broadcast %x {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 4 x f32>
    %5 = graph.broadcast %3 {axes = array<i64: 1>} : tensor<4xf32> -> tensor<N x 4 x f32>
    %6 = graph.add %4, %5 : tensor<N x 4 x f32>
    %7 = graph.tanh %6 : tensor<N x 4 x f32>
    %8 = graph.broadcast %7 {axes = array<i64: 0, 1>} : tensor<N x 4 x f32> -> tensor<N x 4 x 6 x f32>
    func.return %8 : tensor<N x 4 x 6 x f32>
  }
}
