// PASSES: select-layout,move-transposes,dce
// What sums over the batch is the gradient of a weight: its operands stay channels last, and the result alone is transposed.
func.func @main(%x: tensor<N x 56 x 56 x 8 x f32>, %w: tensor<N x 56 x 56 x 16 x f32>) -> (tensor<16x8x3x3xf32>) {
  %0 = graph.transpose %x {permutation = array<i64: 0, 3, 1, 2>} : tensor<N x 56 x 56 x 8 x f32> -> tensor<N x 8 x 56 x 56 x f32>
  %1 = graph.transpose %w {permutation = array<i64: 0, 3, 1, 2>} : tensor<N x 56 x 56 x 16 x f32> -> tensor<N x 16 x 56 x 56 x f32>
  %2 = graph.convolution %0, %1 "nc01,no01->oc01" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 8 x 56 x 56 x f32>, tensor<N x 16 x 56 x 56 x f32> -> tensor<16x8x3x3xf32>
  func.return %2 : tensor<16x8x3x3xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 56 x 56 x 8 x f32>, %w: tensor<N x 56 x 56 x 16 x f32>) -> tensor<16x8x3x3xf32> {
    %0 = graph.convolution %x, %w "n01c,n01o->01co" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 56 x 56 x 8 x f32>, tensor<N x 56 x 56 x 16 x f32> -> tensor<3x3x8x16xf32>
    %1 = graph.transpose %0 {permutation = array<i64: 3, 2, 0, 1>} : tensor<3x3x8x16xf32> -> tensor<16x8x3x3xf32>
    func.return %1 : tensor<16x8x3x3xf32>
  }
}
