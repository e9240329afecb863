// PASSES: simplify
// A convolution and a window take over padding with their neutral element.
func.func @main(%x: tensor<?x3x8x8xf32, #graph.dims<["N", "", "", ""]>>) -> (tensor<?x4x8x8xf32, #graph.dims<["N", "", "", ""]>>, tensor<?x3x5x5xf32, #graph.dims<["N", "", "", ""]>>) {
  %0 = graph.constant "0.0" : tensor<f32>
  %1 = graph.pad %x, %0 {low = #graph.dims<["0", "0", "1", "1"]>, high = #graph.dims<["0", "0", "1", "1"]>} : tensor<?x3x8x8xf32, #graph.dims<["N", "", "", ""]>>, tensor<f32> -> tensor<?x3x10x10xf32, #graph.dims<["N", "", "", ""]>>
  %2 = graph.weight @w : tensor<4x3x3x3xf32>
  %3 = graph.convolution %1, %2 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<["0", "0"]>, high = #graph.dims<["0", "0"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x3x10x10xf32, #graph.dims<["N", "", "", ""]>>, tensor<4x3x3x3xf32> -> tensor<?x4x8x8xf32, #graph.dims<["N", "", "", ""]>>
  %4 = graph.constant "-inf" : tensor<f32>
  %5 = graph.pad %x, %4 {low = #graph.dims<["0", "0", "1", "1"]>, high = #graph.dims<["0", "0", "1", "1"]>} : tensor<?x3x8x8xf32, #graph.dims<["N", "", "", ""]>>, tensor<f32> -> tensor<?x3x10x10xf32, #graph.dims<["N", "", "", ""]>>
  %6 = graph.reduce_window %5 "max" {window = array<i64: 1, 1, 2, 2>, strides = array<i64: 1, 1, 2, 2>, low = #graph.dims<["0", "0", "0", "0"]>, high = #graph.dims<["0", "0", "0", "0"]>, dilations = array<i64: 1, 1, 1, 1>} : tensor<?x3x10x10xf32, #graph.dims<["N", "", "", ""]>> -> tensor<?x3x5x5xf32, #graph.dims<["N", "", "", ""]>>
  func.return %3, %6 : tensor<?x4x8x8xf32, #graph.dims<["N", "", "", ""]>>, tensor<?x3x5x5xf32, #graph.dims<["N", "", "", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x3x8x8xf32, #graph.dims<["N", "", "", ""]>>) -> (tensor<?x4x8x8xf32, #graph.dims<["N", "", "", ""]>>, tensor<?x3x5x5xf32, #graph.dims<["N", "", "", ""]>>) {
    %0 = graph.weight @w : tensor<4x3x3x3xf32>
    %1 = graph.convolution %x, %0 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<["1", "1"]>, high = #graph.dims<["1", "1"]>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<?x3x8x8xf32, #graph.dims<["N", "", "", ""]>>, tensor<4x3x3x3xf32> -> tensor<?x4x8x8xf32, #graph.dims<["N", "", "", ""]>>
    %2 = graph.reduce_window %x "max" {window = array<i64: 1, 1, 2, 2>, strides = array<i64: 1, 1, 2, 2>, low = #graph.dims<["0", "0", "1", "1"]>, high = #graph.dims<["0", "0", "1", "1"]>, dilations = array<i64: 1, 1, 1, 1>} : tensor<?x3x8x8xf32, #graph.dims<["N", "", "", ""]>> -> tensor<?x3x5x5xf32, #graph.dims<["N", "", "", ""]>>
    func.return %1, %2 : tensor<?x4x8x8xf32, #graph.dims<["N", "", "", ""]>>, tensor<?x3x5x5xf32, #graph.dims<["N", "", "", ""]>>
  }
}
