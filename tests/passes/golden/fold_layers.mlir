// PASSES: fold
// A weight computed from weights is made once, on first use; a shared input stays for its other reader.
func.func @main(%x: tensor<N x 40 x f32>) -> (tensor<N x 40 x f32>) {
  %0 = graph.weight @a : tensor<40xf32>
  %1 = graph.mul %0, %0 : tensor<40xf32>
  %2 = graph.broadcast %1 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<N x 40 x f32>
  %3 = graph.mul %x, %2 : tensor<N x 40 x f32>
  %4 = graph.broadcast %0 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<N x 40 x f32>
  %5 = graph.add %3, %4 : tensor<N x 40 x f32>
  func.return %5 : tensor<N x 40 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 40 x f32>) -> tensor<N x 40 x f32> {
    %0 = graph.weight @a : tensor<40xf32>
    %1 = graph.weight @a.folded : tensor<40xf32>
    %2 = graph.broadcast %1 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<N x 40 x f32>
    %3 = graph.mul %x, %2 : tensor<N x 40 x f32>
    %4 = graph.broadcast %0 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<N x 40 x f32>
    %5 = graph.add %3, %4 : tensor<N x 40 x f32>
    func.return %5 : tensor<N x 40 x f32>
  }
}
