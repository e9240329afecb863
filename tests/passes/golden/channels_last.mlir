// PASSES: select-layout,move-transposes,fold,dce
// A residual block in channels last: one transpose in, one out.
func.func @main(%x: tensor<N x 3 x H x W x f32>) -> (tensor<N x 8 x "(H + 1)//2" x "(W + 1)//2" x f32>) {
  %0 = graph.weight @a : tensor<8x3x3x3xf32>
  %1 = graph.convolution %x, %0 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x H x W x f32>, tensor<8x3x3x3xf32> -> tensor<N x 8 x H x W x f32>
  %2 = graph.relu %1 : tensor<N x 8 x H x W x f32>
  %3 = graph.weight @b : tensor<8x8x3x3xf32>
  %4 = graph.convolution %2, %3 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 8 x H x W x f32>, tensor<8x8x3x3xf32> -> tensor<N x 8 x H x W x f32>
  %5 = graph.add %4, %2 : tensor<N x 8 x H x W x f32>
  %6 = graph.relu %5 : tensor<N x 8 x H x W x f32>
  %7 = graph.reduce_window %6 "max" {window = array<i64: 1, 1, 3, 3>, strides = array<i64: 1, 1, 2, 2>, low = #graph.dims<0, 0, 1, 1>, high = #graph.dims<0, 0, 1, 1>, dilations = array<i64: 1, 1, 1, 1>} : tensor<N x 8 x H x W x f32> -> tensor<N x 8 x "(H + 1)//2" x "(W + 1)//2" x f32>
  func.return %7 : tensor<N x 8 x "(H + 1)//2" x "(W + 1)//2" x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x H x W x f32>) -> tensor<N x 8 x "(H + 1)//2" x "(W + 1)//2" x f32> {
    %0 = graph.transpose %x {permutation = array<i64: 0, 2, 3, 1>} : tensor<N x 3 x H x W x f32> -> tensor<N x H x W x 3 x f32>
    %1 = graph.weight @a.transposed : tensor<3x3x3x8xf32>
    %2 = graph.convolution %0, %1 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x H x W x 3 x f32>, tensor<3x3x3x8xf32> -> tensor<N x H x W x 8 x f32>
    %3 = graph.relu %2 : tensor<N x H x W x 8 x f32>
    %4 = graph.weight @b.transposed : tensor<3x3x8x8xf32>
    %5 = graph.convolution %3, %4 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x H x W x 8 x f32>, tensor<3x3x8x8xf32> -> tensor<N x H x W x 8 x f32>
    %6 = graph.add %5, %3 : tensor<N x H x W x 8 x f32>
    %7 = graph.relu %6 : tensor<N x H x W x 8 x f32>
    %8 = graph.reduce_window %7 "max" {window = array<i64: 1, 3, 3, 1>, strides = array<i64: 1, 2, 2, 1>, low = #graph.dims<0, 1, 1, 0>, high = #graph.dims<0, 1, 1, 0>, dilations = array<i64: 1, 1, 1, 1>} : tensor<N x H x W x 8 x f32> -> tensor<N x "(H + 1)//2" x "(W + 1)//2" x 8 x f32>
    %9 = graph.transpose %8 {permutation = array<i64: 0, 3, 1, 2>} : tensor<N x "(H + 1)//2" x "(W + 1)//2" x 8 x f32> -> tensor<N x 8 x "(H + 1)//2" x "(W + 1)//2" x f32>
    func.return %9 : tensor<N x 8 x "(H + 1)//2" x "(W + 1)//2" x f32>
  }
}
