// PASSES: expand-padding
// Borders become an op of their own.
func.func @main(%x: tensor<N x H x 8 x 3 x f32>) -> (tensor<N x "(H + 1)//2" x 4 x 4 x f32>) {
  %0 = graph.weight @a : tensor<3x3x3x4xf32>
  %1 = graph.convolution %x, %0 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<1, 0>, high = #graph.dims<1, 2>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x H x 8 x 3 x f32>, tensor<3x3x3x4xf32> -> tensor<N x H x 8 x 4 x f32>
  %2 = graph.reduce_window %1 "max" {window = array<i64: 1, 2, 2, 1>, strides = array<i64: 1, 2, 2, 1>, low = #graph.dims<0, 0, 1, 0>, high = #graph.dims<0, 1, 0, 0>, dilations = array<i64: 1, 1, 1, 1>} : tensor<N x H x 8 x 4 x f32> -> tensor<N x "(H + 1)//2" x 4 x 4 x f32>
  func.return %2 : tensor<N x "(H + 1)//2" x 4 x 4 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x H x 8 x 3 x f32>) -> tensor<N x "(H + 1)//2" x 4 x 4 x f32> {
    %0 = graph.weight @a : tensor<3x3x3x4xf32>
    %1 = graph.constant "0.0" : tensor<f32>
    %2 = graph.pad %x, %1 {low = #graph.dims<0, 1, 0, 0>, high = #graph.dims<0, 1, 2, 0>} : tensor<N x H x 8 x 3 x f32>, tensor<f32> -> tensor<N x "H + 2" x 10 x 3 x f32>
    %3 = graph.convolution %2, %0 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x "H + 2" x 10 x 3 x f32>, tensor<3x3x3x4xf32> -> tensor<N x H x 8 x 4 x f32>
    %4 = graph.constant "-inf" : tensor<f32>
    %5 = graph.pad %3, %4 {low = #graph.dims<0, 0, 1, 0>, high = #graph.dims<0, 1, 0, 0>} : tensor<N x H x 8 x 4 x f32>, tensor<f32> -> tensor<N x "H + 1" x 9 x 4 x f32>
    %6 = graph.reduce_window %5 "max" {window = array<i64: 1, 2, 2, 1>, strides = array<i64: 1, 2, 2, 1>, low = #graph.dims<0, 0, 0, 0>, high = #graph.dims<0, 0, 0, 0>, dilations = array<i64: 1, 1, 1, 1>} : tensor<N x "H + 1" x 9 x 4 x f32> -> tensor<N x "(H + 1)//2" x 4 x 4 x f32>
    func.return %6 : tensor<N x "(H + 1)//2" x 4 x 4 x f32>
  }
}
