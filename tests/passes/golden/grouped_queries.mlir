// PASSES: simplify
// Key heads repeated for groups of query heads are not repeated.
func.func @main(%q: tensor<N x 6 x S x 4 x f32>, %k: tensor<N x 2 x T x 4 x f32>) -> (tensor<N x 6 x S x T x f32>) {
  %0 = graph.broadcast %k {axes = array<i64: 0, 1, 3, 4>} : tensor<N x 2 x T x 4 x f32> -> tensor<N x 2 x 3 x T x 4 x f32>
  %1 = graph.reshape %0 : tensor<N x 2 x 3 x T x 4 x f32> -> tensor<N x 6 x T x 4 x f32>
  %2 = graph.contract %q, %1 "bhsd,bhtd->bhst" : tensor<N x 6 x S x 4 x f32>, tensor<N x 6 x T x 4 x f32> -> tensor<N x 6 x S x T x f32>
  func.return %2 : tensor<N x 6 x S x T x f32>
}
// -----
builtin.module {
  func.func @main(%q: tensor<N x 6 x S x 4 x f32>, %k: tensor<N x 2 x T x 4 x f32>) -> tensor<N x 6 x S x T x f32> {
    %0 = graph.reshape %q : tensor<N x 6 x S x 4 x f32> -> tensor<N x 2 x 3 x S x 4 x f32>
    %1 = graph.contract %0, %k "bacsd,batd->bacst" : tensor<N x 2 x 3 x S x 4 x f32>, tensor<N x 2 x T x 4 x f32> -> tensor<N x 2 x 3 x S x T x f32>
    %2 = graph.reshape %1 : tensor<N x 2 x 3 x S x T x f32> -> tensor<N x 6 x S x T x f32>
    func.return %2 : tensor<N x 6 x S x T x f32>
  }
}
