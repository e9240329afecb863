// PASSES: fold
// Scalars are computed at once; a weight's transpose becomes another weight; a large broadcast stays.
func.func @main(%x: tensor<4x32xf32>) -> tensor<4x32xf32> {
  %w = graph.weight @fc.weight : tensor<32x8xf32>
  %t = graph.transpose %w {permutation = array<i64: 1, 0>} : tensor<32x8xf32> -> tensor<8x32xf32>
  %v = graph.slice %t {starts = #graph.dims<0, 0>, steps = array<i64: 2, 1>} : tensor<8x32xf32> -> tensor<4x32xf32>
  %y = graph.add %x, %v : tensor<4x32xf32>
  %one = graph.constant "1.0" : tensor<f32>
  %two = graph.add %one, %one : tensor<f32>
  %b = graph.broadcast %two {axes = array<i64>} : tensor<f32> -> tensor<4x32xf32>
  %z = graph.mul %y, %b : tensor<4x32xf32>
  return %z : tensor<4x32xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<4x32xf32>) -> tensor<4x32xf32> {
    %v = graph.weight @fc.weight.transposed.folded : tensor<4x32xf32>
    %y = graph.add %x, %v : tensor<4x32xf32>
    %two = graph.constant "2.0" : tensor<f32>
    %b = graph.broadcast %two {axes = array<i64>} : tensor<f32> -> tensor<4x32xf32>
    %z = graph.mul %y, %b : tensor<4x32xf32>
    func.return %z : tensor<4x32xf32>
  }
}
