// PASSES: decompose
// A composite becomes its primitives.
func.func @main(%x: tensor<N x 5 x f32>) -> tensor<N x 5 x f32> {
  %y = graph.softmax %x {axis = 1 : i64} : tensor<N x 5 x f32> -> tensor<N x 5 x f32>
  return %y : tensor<N x 5 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 5 x f32>) -> tensor<N x 5 x f32> {
    %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<N x 5 x f32> -> tensor<N x f32>
    %1 = graph.broadcast %0 {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 5 x f32>
    %2 = graph.sub %x, %1 : tensor<N x 5 x f32>
    %3 = graph.exp %2 : tensor<N x 5 x f32>
    %4 = graph.reduce %3 "sum" {axes = array<i64: 1>} : tensor<N x 5 x f32> -> tensor<N x f32>
    %5 = graph.reciprocal %4 : tensor<N x f32>
    %6 = graph.broadcast %5 {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 5 x f32>
    %y = graph.mul %3, %6 : tensor<N x 5 x f32>
    func.return %y : tensor<N x 5 x f32>
  }
}
