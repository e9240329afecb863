// PASSES: expand-places,dce
// What maxima of windows side by side put back is one choice for each element; the gradient of a relu takes its shape, and shares its kernel.
func.func @main(%v: tensor<2x2x3x3xf32>, %p: tensor<2x2x3x3xui8>, %x: tensor<2x4x6x3xf32>) -> tensor<2x4x6x3xf32> {
  %t = graph.window_put %v, %p {window = array<i64: 1, 2, 2, 1>, strides = array<i64: 1, 2, 2, 1>, low = #graph.dims<0, 0, 0, 0>, high = #graph.dims<0, 0, 0, 0>, dilations = array<i64: 1, 1, 1, 1>} : tensor<2x2x3x3xf32>, tensor<2x2x3x3xui8> -> tensor<2x4x6x3xf32>
  %zero = graph.constant "0.0" : tensor<f32>
  %wide = graph.broadcast %zero {axes = array<i64>} : tensor<f32> -> tensor<2x4x6x3xf32>
  %off = graph.le %x, %wide : tensor<2x4x6x3xf32>, tensor<2x4x6x3xf32> -> tensor<2x4x6x3xi1>
  %g = graph.select %off, %wide, %t : tensor<2x4x6x3xi1>, tensor<2x4x6x3xf32>, tensor<2x4x6x3xf32> -> tensor<2x4x6x3xf32>
  return %g : tensor<2x4x6x3xf32>
}
// -----
builtin.module {
  func.func @main(%v: tensor<2x2x3x3xf32>, %p: tensor<2x2x3x3xui8>, %x: tensor<2x4x6x3xf32>) -> tensor<2x4x6x3xf32> {
    %0 = graph.constant "3" : tensor<ui8>
    %1 = graph.broadcast %0 {axes = array<i64>} : tensor<ui8> -> tensor<2x2x3x3xui8>
    %2 = graph.minimum %p, %1 : tensor<2x2x3x3xui8>
    %3 = graph.constant "0.0" : tensor<f32>
    %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<2x2x2x3x2x3xf32>
    %5 = graph.broadcast %v {axes = array<i64: 0, 1, 3, 5>} : tensor<2x2x3x3xf32> -> tensor<2x2x2x3x2x3xf32>
    %6 = graph.broadcast %2 {axes = array<i64: 0, 1, 3, 5>} : tensor<2x2x3x3xui8> -> tensor<2x2x2x3x2x3xui8>
    %7 = graph.constant "0, 1, 2, 3" : tensor<2x2xui8>
    %8 = graph.broadcast %7 {axes = array<i64: 2, 4>} : tensor<2x2xui8> -> tensor<2x2x2x3x2x3xui8>
    %9 = graph.eq %6, %8 : tensor<2x2x2x3x2x3xui8>, tensor<2x2x2x3x2x3xui8> -> tensor<2x2x2x3x2x3xi1>
    %10 = graph.select %9, %5, %4 : tensor<2x2x2x3x2x3xi1>, tensor<2x2x2x3x2x3xf32>, tensor<2x2x2x3x2x3xf32> -> tensor<2x2x2x3x2x3xf32>
    %zero = graph.constant "0.0" : tensor<f32>
    %11 = graph.reshape %x : tensor<2x4x6x3xf32> -> tensor<2x2x2x3x2x3xf32>
    %12 = graph.broadcast %zero {axes = array<i64>} : tensor<f32> -> tensor<2x2x2x3x2x3xf32>
    %13 = graph.le %11, %12 : tensor<2x2x2x3x2x3xf32>, tensor<2x2x2x3x2x3xf32> -> tensor<2x2x2x3x2x3xi1>
    %14 = graph.broadcast %zero {axes = array<i64>} : tensor<f32> -> tensor<2x2x2x3x2x3xf32>
    %15 = graph.select %13, %14, %10 : tensor<2x2x2x3x2x3xi1>, tensor<2x2x2x3x2x3xf32>, tensor<2x2x2x3x2x3xf32> -> tensor<2x2x2x3x2x3xf32>
    %g = graph.reshape %15 : tensor<2x2x2x3x2x3xf32> -> tensor<2x4x6x3xf32>
    func.return %g : tensor<2x4x6x3xf32>
  }
}
