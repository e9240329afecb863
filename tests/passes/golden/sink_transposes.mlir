// PASSES: simplify,move-transposes,simplify
// Attention heads with a rotation in between: no transpose is left.
func.func @main(%x: tensor<N x S x 8 x f32>, %c: tensor<S x 4 x f32>) -> (tensor<N x 2 x S x S x f32>) {
  %0 = graph.reshape %x : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
  %1 = graph.transpose %0 {permutation = array<i64: 0, 2, 1, 3>} : tensor<N x S x 2 x 4 x f32> -> tensor<N x 2 x S x 4 x f32>
  %2 = graph.slice %1 {starts = #graph.dims<0, 0, 0, 2>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x 2 x S x 4 x f32> -> tensor<N x 2 x S x 2 x f32>
  %3 = graph.neg %2 : tensor<N x 2 x S x 2 x f32>
  %4 = graph.slice %1 {starts = #graph.dims<0, 0, 0, 0>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x 2 x S x 4 x f32> -> tensor<N x 2 x S x 2 x f32>
  %5 = graph.concatenate %3, %4 {axis = 3 : i64} : tensor<N x 2 x S x 2 x f32>, tensor<N x 2 x S x 2 x f32> -> tensor<N x 2 x S x 4 x f32>
  %6 = graph.broadcast %c {axes = array<i64: 2, 3>} : tensor<S x 4 x f32> -> tensor<N x 2 x S x 4 x f32>
  %7 = graph.mul %1, %6 : tensor<N x 2 x S x 4 x f32>
  %8 = graph.add %7, %5 : tensor<N x 2 x S x 4 x f32>
  %9 = graph.contract %8, %8 "bhsd,bhtd->bhst" : tensor<N x 2 x S x 4 x f32>, tensor<N x 2 x S x 4 x f32> -> tensor<N x 2 x S x S x f32>
  func.return %9 : tensor<N x 2 x S x S x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x S x 8 x f32>, %c: tensor<S x 4 x f32>) -> tensor<N x 2 x S x S x f32> {
    %0 = graph.reshape %x : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
    %1 = graph.slice %0 {starts = #graph.dims<0, 0, 0, 2>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x S x 2 x 4 x f32> -> tensor<N x S x 2 x 2 x f32>
    %2 = graph.neg %1 : tensor<N x S x 2 x 2 x f32>
    %3 = graph.slice %0 {starts = #graph.dims<0, 0, 0, 0>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x S x 2 x 4 x f32> -> tensor<N x S x 2 x 2 x f32>
    %4 = graph.concatenate %2, %3 {axis = 3 : i64} : tensor<N x S x 2 x 2 x f32>, tensor<N x S x 2 x 2 x f32> -> tensor<N x S x 2 x 4 x f32>
    %5 = graph.broadcast %c {axes = array<i64: 1, 3>} : tensor<S x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
    %6 = graph.mul %0, %5 : tensor<N x S x 2 x 4 x f32>
    %7 = graph.add %6, %4 : tensor<N x S x 2 x 4 x f32>
    %8 = graph.contract %7, %7 "bshd,bthd->bhst" : tensor<N x S x 2 x 4 x f32>, tensor<N x S x 2 x 4 x f32> -> tensor<N x 2 x S x S x f32>
    func.return %8 : tensor<N x 2 x S x S x f32>
  }
}
