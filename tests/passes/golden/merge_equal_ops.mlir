// PASSES: cse,dce
// Equal ops are computed once; what nobody uses goes.
func.func @main(%x: tensor<N x 3 x f32>) -> tensor<N x 3 x f32> {
  %a = graph.exp %x : tensor<N x 3 x f32>
  %b = graph.exp %x : tensor<N x 3 x f32>
  %c = graph.neg %b : tensor<N x 3 x f32>
  %d = graph.mul %a, %b : tensor<N x 3 x f32>
  return %d : tensor<N x 3 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x f32>) -> tensor<N x 3 x f32> {
    %a = graph.exp %x : tensor<N x 3 x f32>
    %d = graph.mul %a, %a : tensor<N x 3 x f32>
    func.return %d : tensor<N x 3 x f32>
  }
}
