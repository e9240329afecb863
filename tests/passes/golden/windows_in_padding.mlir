// PASSES: expand-padding,dce
// The maximum's place is looked for in what is padded, and values are put back there, without the border.
func.func @main(%x: tensor<1x7xf32>, %c: tensor<1x4xf32>) -> tensor<1x7xf32> {
  %0 = graph.reduce_window %x "max" {dilations = array<i64: 1, 1>, high = #graph.dims<0, 1>, low = #graph.dims<0, 1>, strides = array<i64: 1, 2>, window = array<i64: 1, 3>} : tensor<1x7xf32> -> tensor<1x4xf32>
  %1 = graph.window_place %x, %0 {dilations = array<i64: 1, 1>, high = #graph.dims<0, 1>, low = #graph.dims<0, 1>, strides = array<i64: 1, 2>, window = array<i64: 1, 3>} : tensor<1x7xf32>, tensor<1x4xf32> -> tensor<1x4xui8>
  %2 = graph.window_put %c, %1 {dilations = array<i64: 1, 1>, high = #graph.dims<0, 1>, low = #graph.dims<0, 1>, strides = array<i64: 1, 2>, window = array<i64: 1, 3>} : tensor<1x4xf32>, tensor<1x4xui8> -> tensor<1x7xf32>
  func.return %2 : tensor<1x7xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<1x7xf32>, %c: tensor<1x4xf32>) -> tensor<1x7xf32> {
    %0 = graph.constant "-inf" : tensor<f32>
    %1 = graph.pad %x, %0 {low = #graph.dims<0, 1>, high = #graph.dims<0, 1>} : tensor<1x7xf32>, tensor<f32> -> tensor<1x9xf32>
    %2 = graph.reduce_window %1 "max" {window = array<i64: 1, 3>, strides = array<i64: 1, 2>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>} : tensor<1x9xf32> -> tensor<1x4xf32>
    %3 = graph.window_place %1, %2 {window = array<i64: 1, 3>, strides = array<i64: 1, 2>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>} : tensor<1x9xf32>, tensor<1x4xf32> -> tensor<1x4xui8>
    %4 = graph.window_put %c, %3 {window = array<i64: 1, 3>, strides = array<i64: 1, 2>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>} : tensor<1x4xf32>, tensor<1x4xui8> -> tensor<1x9xf32>
    %5 = graph.slice %4 {starts = #graph.dims<0, 1>, steps = array<i64: 1, 1>} : tensor<1x9xf32> -> tensor<1x7xf32>
    func.return %5 : tensor<1x7xf32>
  }
}
