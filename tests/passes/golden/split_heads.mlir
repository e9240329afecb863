// PASSES: simplify
// A slice of a fused projection is cut after the reshape: a reshape needs a whole buffer, a slice does not.
func.func @main(%x: tensor<N x S x 24 x f32>) -> (tensor<N x 2 x S x S x f32>) {
  %0 = graph.slice %x {starts = #graph.dims<0, 0, 0>, steps = array<i64: 1, 1, 1>} : tensor<N x S x 24 x f32> -> tensor<N x S x 8 x f32>
  %1 = graph.slice %x {starts = #graph.dims<0, 0, 8>, steps = array<i64: 1, 1, 1>} : tensor<N x S x 24 x f32> -> tensor<N x S x 8 x f32>
  %2 = graph.slice %x {starts = #graph.dims<0, 0, 16>, steps = array<i64: 1, 1, 1>} : tensor<N x S x 24 x f32> -> tensor<N x S x 8 x f32>
  %3 = graph.reshape %0 : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
  %4 = graph.transpose %3 {permutation = array<i64: 0, 2, 1, 3>} : tensor<N x S x 2 x 4 x f32> -> tensor<N x 2 x S x 4 x f32>
  %5 = graph.reshape %1 : tensor<N x S x 8 x f32> -> tensor<N x S x 2 x 4 x f32>
  %6 = graph.transpose %5 {permutation = array<i64: 0, 2, 1, 3>} : tensor<N x S x 2 x 4 x f32> -> tensor<N x 2 x S x 4 x f32>
  %7 = graph.contract %4, %6 "bhsd,bhtd->bhst" : tensor<N x 2 x S x 4 x f32>, tensor<N x 2 x S x 4 x f32> -> tensor<N x 2 x S x S x f32>
  func.return %7 : tensor<N x 2 x S x S x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x S x 24 x f32>) -> tensor<N x 2 x S x S x f32> {
    %0 = graph.reshape %x : tensor<N x S x 24 x f32> -> tensor<N x S x 6 x 4 x f32>
    %1 = graph.slice %0 {starts = #graph.dims<0, 0, 0, 0>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x S x 6 x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
    %2 = graph.reshape %x : tensor<N x S x 24 x f32> -> tensor<N x S x 6 x 4 x f32>
    %3 = graph.slice %2 {starts = #graph.dims<0, 0, 2, 0>, steps = array<i64: 1, 1, 1, 1>} : tensor<N x S x 6 x 4 x f32> -> tensor<N x S x 2 x 4 x f32>
    %4 = graph.contract %1, %3 "bshd,bthd->bhst" : tensor<N x S x 2 x 4 x f32>, tensor<N x S x 2 x 4 x f32> -> tensor<N x 2 x S x S x f32>
    func.return %4 : tensor<N x 2 x S x S x f32>
  }
}
