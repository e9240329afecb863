// PASSES: merge-scales
// Queries and keys scaled by one factor each: one factor of the scores.
func.func @main(%q: tensor<N x S x 8 x f32>, %k: tensor<N x T x 8 x f32>) -> (tensor<N x 2 x S x T x f32>) {
  %0 = graph.constant "0.5" : tensor<f32>
  %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<N x T x 8 x f32>
  %2 = graph.mul %k, %1 : tensor<N x T x 8 x f32>
  %3 = graph.reshape %2 : tensor<N x T x 8 x f32> -> tensor<N x T x 2 x 4 x f32>
  %4 = graph.reshape %q : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
  %5 = graph.constant "0.25" : tensor<f32>
  %6 = graph.broadcast %5 {axes = array<i64>} : tensor<f32> -> tensor<N x S x 2 x 4 x f32>
  %7 = graph.mul %4, %6 : tensor<N x S x 2 x 4 x f32>
  %8 = graph.contract %7, %3 "bshd,bthd->bhst" : tensor<N x S x 2 x 4 x f32>, tensor<N x T x 2 x 4 x f32> -> tensor<N x 2 x S x T x f32>
  func.return %8 : tensor<N x 2 x S x T x f32>
}
// -----
builtin.module {
  func.func @main(%q: tensor<N x S x 8 x f32>, %k: tensor<N x T x 8 x f32>) -> tensor<N x 2 x S x T x f32> {
    %0 = graph.reshape %q : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
    %1 = graph.reshape %k : tensor<N x T x 8 x f32> -> tensor<N x T x 2 x 4 x f32>
    %2 = graph.contract %0, %1 "bshd,bthd->bhst" : tensor<N x S x 2 x 4 x f32>, tensor<N x T x 2 x 4 x f32> -> tensor<N x 2 x S x T x f32>
    %3 = graph.constant "0.125" : tensor<f32>
    %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<N x 2 x S x T x f32>
    %5 = graph.mul %2, %4 : tensor<N x 2 x S x T x f32>
    func.return %5 : tensor<N x 2 x S x T x f32>
  }
}
