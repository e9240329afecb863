// PASSES: simplify
// A convolution and a window take over padding with their neutral element.
func.func @main(%x: tensor<N x 3 x 8 x 8 x f32>) -> (tensor<N x 4 x 8 x 8 x f32>, tensor<N x 3 x 5 x 5 x f32>) {
  %0 = graph.constant "0.0" : tensor<f32>
  %1 = graph.pad %x, %0 {low = #graph.dims<0, 0, 1, 1>, high = #graph.dims<0, 0, 1, 1>} : tensor<N x 3 x 8 x 8 x f32>, tensor<f32> -> tensor<N x 3 x 10 x 10 x f32>
  %2 = graph.weight @w : tensor<4x3x3x3xf32>
  %3 = graph.convolution %1, %2 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x 10 x 10 x f32>, tensor<4x3x3x3xf32> -> tensor<N x 4 x 8 x 8 x f32>
  %4 = graph.constant "-inf" : tensor<f32>
  %5 = graph.pad %x, %4 {low = #graph.dims<0, 0, 1, 1>, high = #graph.dims<0, 0, 1, 1>} : tensor<N x 3 x 8 x 8 x f32>, tensor<f32> -> tensor<N x 3 x 10 x 10 x f32>
  %6 = graph.reduce_window %5 "max" {window = array<i64: 1, 1, 2, 2>, strides = array<i64: 1, 1, 2, 2>, low = #graph.dims<0, 0, 0, 0>, high = #graph.dims<0, 0, 0, 0>, dilations = array<i64: 1, 1, 1, 1>} : tensor<N x 3 x 10 x 10 x f32> -> tensor<N x 3 x 5 x 5 x f32>
  func.return %3, %6 : tensor<N x 4 x 8 x 8 x f32>, tensor<N x 3 x 5 x 5 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x 8 x 8 x f32>) -> (tensor<N x 4 x 8 x 8 x f32>, tensor<N x 3 x 5 x 5 x f32>) {
    %0 = graph.weight @w : tensor<4x3x3x3xf32>
    %1 = graph.convolution %x, %0 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<1, 1>, high = #graph.dims<1, 1>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x 8 x 8 x f32>, tensor<4x3x3x3xf32> -> tensor<N x 4 x 8 x 8 x f32>
    %2 = graph.reduce_window %x "max" {window = array<i64: 1, 1, 2, 2>, strides = array<i64: 1, 1, 2, 2>, low = #graph.dims<0, 0, 1, 1>, high = #graph.dims<0, 0, 1, 1>, dilations = array<i64: 1, 1, 1, 1>} : tensor<N x 3 x 8 x 8 x f32> -> tensor<N x 3 x 5 x 5 x f32>
    func.return %1, %2 : tensor<N x 4 x 8 x 8 x f32>, tensor<N x 3 x 5 x 5 x f32>
  }
}
