// PASSES: select-layout,move-transposes,dce
// A window of more taps than it has positions is an ordinary one.
func.func @main(%x: tensor<N x 3 x 32 x 32 x f32>, %w: tensor<16x3x16x16xf32>) -> (tensor<N x 16 x 2 x 2 x f32>) {
  %0 = graph.convolution %x, %w "nc01,oc01->no01" {strides = array<i64: 16, 16>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x 32 x 32 x f32>, tensor<16x3x16x16xf32> -> tensor<N x 16 x 2 x 2 x f32>
  func.return %0 : tensor<N x 16 x 2 x 2 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x 32 x 32 x f32>, %w: tensor<16x3x16x16xf32>) -> tensor<N x 16 x 2 x 2 x f32> {
    %0 = graph.transpose %x {permutation = array<i64: 0, 2, 3, 1>} : tensor<N x 3 x 32 x 32 x f32> -> tensor<N x 32 x 32 x 3 x f32>
    %1 = graph.transpose %w {permutation = array<i64: 2, 3, 1, 0>} : tensor<16x3x16x16xf32> -> tensor<16x16x3x16xf32>
    %2 = graph.convolution %0, %1 "n01c,01co->n01o" {strides = array<i64: 16, 16>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 32 x 32 x 3 x f32>, tensor<16x16x3x16xf32> -> tensor<N x 2 x 2 x 16 x f32>
    %3 = graph.transpose %2 {permutation = array<i64: 0, 3, 1, 2>} : tensor<N x 2 x 2 x 16 x f32> -> tensor<N x 16 x 2 x 2 x f32>
    func.return %3 : tensor<N x 16 x 2 x 2 x f32>
  }
}
