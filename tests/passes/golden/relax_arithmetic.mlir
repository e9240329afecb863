// PASSES: relax-arithmetic,dce
// Products instead of divisions, one constant factor instead of two.
func.func @main(%x: tensor<N x 5 x f32>) -> (tensor<N x 5 x f32>, tensor<N x 5 x f32>) {
  %c = graph.constant "3.0" : tensor<f32>
  %b = graph.broadcast %c {axes = array<i64>} : tensor<f32> -> tensor<N x 5 x f32>
  %d = graph.div %x, %b : tensor<N x 5 x f32>
  %m = graph.mul %d, %b : tensor<N x 5 x f32>
  %s = graph.mul %x, %x : tensor<N x 5 x f32>
  %r = graph.reduce %s "sum" {axes = array<i64: 1>} : tensor<N x 5 x f32> -> tensor<N x f32>
  %q = graph.sqrt %r : tensor<N x f32>
  %w = graph.broadcast %q {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 5 x f32>
  %n = graph.div %m, %w : tensor<N x 5 x f32>
  return %n, %m : tensor<N x 5 x f32>, tensor<N x 5 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 5 x f32>) -> (tensor<N x 5 x f32>, tensor<N x 5 x f32>) {
    %0 = graph.constant "1.0" : tensor<f32>
    %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<N x 5 x f32>
    %m = graph.mul %x, %1 : tensor<N x 5 x f32>
    %s = graph.mul %x, %x : tensor<N x 5 x f32>
    %r = graph.reduce %s "sum" {axes = array<i64: 1>} : tensor<N x 5 x f32> -> tensor<N x f32>
    %2 = graph.rsqrt %r : tensor<N x f32>
    %3 = graph.broadcast %2 {axes = array<i64: 0>} : tensor<N x f32> -> tensor<N x 5 x f32>
    %n = graph.mul %m, %3 : tensor<N x 5 x f32>
    func.return %n, %m : tensor<N x 5 x f32>, tensor<N x 5 x f32>
  }
}
