// PASSES: simplify
// Rows flattened for a product are not flattened at all.
func.func @main(%x: tensor<N x S x 8 x f32>) -> (tensor<N x S x 6 x f32>) {
  %0 = graph.reshape %x : tensor<N x S x 8 x f32> -> tensor<"N*S" x 8 x f32>
  %1 = graph.weight @w : tensor<8x6xf32>
  %2 = graph.contract %0, %1 "mk,kn->mn" : tensor<"N*S" x 8 x f32>, tensor<8x6xf32> -> tensor<"N*S" x 6 x f32>
  %3 = graph.weight @b : tensor<6xf32>
  %4 = graph.broadcast %3 {axes = array<i64: 1>} : tensor<6xf32> -> tensor<"N*S" x 6 x f32>
  %5 = graph.add %2, %4 : tensor<"N*S" x 6 x f32>
  %6 = graph.reshape %5 : tensor<"N*S" x 6 x f32> -> tensor<N x S x 6 x f32>
  func.return %6 : tensor<N x S x 6 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x S x 8 x f32>) -> tensor<N x S x 6 x f32> {
    %0 = graph.weight @w : tensor<8x6xf32>
    %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<N x S x 8 x f32>, tensor<8x6xf32> -> tensor<N x S x 6 x f32>
    %2 = graph.weight @b : tensor<6xf32>
    %3 = graph.broadcast %2 {axes = array<i64: 2>} : tensor<6xf32> -> tensor<N x S x 6 x f32>
    %4 = graph.add %1, %3 : tensor<N x S x 6 x f32>
    func.return %4 : tensor<N x S x 6 x f32>
  }
}
