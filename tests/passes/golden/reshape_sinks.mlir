// PASSES: simplify
// A reshape sinks through what computes, so that bias and relu can join the product.
func.func @main(%x: tensor<N x S x 8 x f32>) -> (tensor<N x S x 2 x 3 x f32>) {
  %0 = graph.weight @w : tensor<8x6xf32>
  %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<N x S x 8 x f32>, tensor<8x6xf32> -> tensor<N x S x 6 x f32>
  %2 = graph.reshape %1 : tensor<N x S x 6 x f32> -> tensor<N x S x 2 x 3 x f32>
  %3 = graph.weight @b : tensor<6xf32>
  %4 = graph.reshape %3 : tensor<6xf32> -> tensor<2x3xf32>
  %5 = graph.broadcast %4 {axes = array<i64: 2, 3>} : tensor<2x3xf32> -> tensor<N x S x 2 x 3 x f32>
  %6 = graph.add %2, %5 : tensor<N x S x 2 x 3 x f32>
  %7 = graph.relu %6 : tensor<N x S x 2 x 3 x f32>
  func.return %7 : tensor<N x S x 2 x 3 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x S x 8 x f32>) -> tensor<N x S x 2 x 3 x f32> {
    %0 = graph.weight @w : tensor<8x6xf32>
    %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<N x S x 8 x f32>, tensor<8x6xf32> -> tensor<N x S x 6 x f32>
    %2 = graph.weight @b : tensor<6xf32>
    %3 = graph.broadcast %2 {axes = array<i64: 2>} : tensor<6xf32> -> tensor<N x S x 6 x f32>
    %4 = graph.add %1, %3 : tensor<N x S x 6 x f32>
    %5 = graph.relu %4 : tensor<N x S x 6 x f32>
    %6 = graph.reshape %5 : tensor<N x S x 6 x f32> -> tensor<N x S x 2 x 3 x f32>
    func.return %6 : tensor<N x S x 2 x 3 x f32>
  }
}
