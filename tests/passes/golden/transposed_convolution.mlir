// PASSES: select-layout,move-transposes,fold,simplify,dce
// Windows side by side: every element gives a 2x2 square.
func.func @main(%x: tensor<N x H x W x 4 x f32>) -> (tensor<N x "2*H" x "2*W" x 5 x f32>) {
  %0 = graph.transpose %x {permutation = array<i64: 0, 3, 1, 2>} : tensor<N x H x W x 4 x f32> -> tensor<N x 4 x H x W x f32>
  %1 = graph.weight @up : tensor<5x4x2x2xf32>
  %2 = graph.convolution %0, %1 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 2, 2>} : tensor<N x 4 x H x W x f32>, tensor<5x4x2x2xf32> -> tensor<N x 5 x "2*H" x "2*W" x f32>
  %3 = graph.transpose %2 {permutation = array<i64: 0, 2, 3, 1>} : tensor<N x 5 x "2*H" x "2*W" x f32> -> tensor<N x "2*H" x "2*W" x 5 x f32>
  func.return %3 : tensor<N x "2*H" x "2*W" x 5 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x H x W x 4 x f32>) -> tensor<N x "2*H" x "2*W" x 5 x f32> {
    %0 = graph.weight @up.folded : tensor<5x4x2x2xf32>
    %1 = graph.contract %x, %0 "nabc,ocAB->naAbBo" : tensor<N x H x W x 4 x f32>, tensor<5x4x2x2xf32> -> tensor<N x H x 2 x W x 2 x 5 x f32>
    %2 = graph.reshape %1 : tensor<N x H x 2 x W x 2 x 5 x f32> -> tensor<N x "2*H" x "2*W" x 5 x f32>
    func.return %2 : tensor<N x "2*H" x "2*W" x 5 x f32>
  }
}
